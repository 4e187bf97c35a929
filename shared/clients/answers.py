"""Parser of upstream answers: reads the facts that the router needs; a whole answer's body is passed on unchanged.

The text of an answer is trusted, its numbers and names are checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from shared.clients import upstream_json
from shared.clients.upstream_errors import garbage, of_error_body
from shared.clients.upstream_words import words_of
from shared.clients.usage import usage_of
from shared.errors import UpstreamError
from shared.schemas.answer_parts import answer_choices
from shared.schemas.tool_loops import call_ids_of
from shared.schemas.upstream import Answer

MAX_ERROR_BYTES = 64 * 1024

RefusalOf = Callable[[Mapping[str, Any]], UpstreamError]
"""Converts an error under status 200 to UpstreamError."""


class BadAnswer(Exception):
    """Error: the body is not an answer."""


def answer_of(raw: bytes, refusal: RefusalOf = of_error_body) -> Answer:
    """Return a whole answer. Raises UpstreamError."""
    try:
        body, raw = parse_object(raw)
        choices = choices_of(body)
        failure = error_of(body, choices)
        if failure is not None:
            raise refusal(failure)
        messages = messages_of(body)
    except BadAnswer as error:
        raise _unreadable(raw, str(error), refusal) from error
    return Answer(
        body=raw,
        usage=usage_of(body),
        model=model_of(body),
        chars=text_length_of(messages),
        calls=call_ids_of(messages),
        choices=answer_choices(choices),
    )


def _unreadable(raw: bytes, why: str, refusal: RefusalOf) -> UpstreamError:
    """Return what a body without an answer means: an error of some other shape, if it names a status."""
    if len(raw) <= MAX_ERROR_BYTES:
        try:
            body = upstream_json.loads(raw)
        except ValueError:
            return garbage(why)
        if words_of(body).status is not None:
            return refusal(body)
    return garbage(why)


def parse_object(raw: bytes) -> tuple[dict[str, Any], bytes]:
    """Return a JSON object, and the text to pass on: `raw` itself unless it is not UTF-8. Raises BadAnswer."""
    try:
        body, text = upstream_json.read(raw)
    except ValueError as error:
        raise BadAnswer("not JSON") from error
    if not isinstance(body, dict):
        raise BadAnswer("not an object")
    return body, text


def parse_json(raw: bytes) -> Any:
    """Return any JSON value. Raises BadAnswer."""
    try:
        return upstream_json.loads(raw)
    except ValueError as error:
        raise BadAnswer("not JSON") from error


def error_of(body: Mapping[str, Any], choices: Iterable[dict[str, Any]]) -> Mapping[str, Any] | None:
    """Return the error that a body of status 200 carries, at the top or in one of its choices; None without one."""
    error = body.get("error") or None  # `{}`, "" and false stand for none, as OpenAI's SDKs take them
    if error is None and body.get("object") == "error":
        return body  # vLLM and Mistral: the error is the body
    if error is None:
        for choice in choices:
            if choice.get("error") or choice.get("finish_reason") == "error":
                error = choice.get("error") or {}
                break
    if error is None:
        return None
    return error if isinstance(error, dict) else {"message": error}


def choices_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the choices that are objects."""
    choices = body.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def messages_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the messages of the choices that have one. Raises BadAnswer where none has."""
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise BadAnswer("no choices")
    said = [choice.get("message") for choice in choices if isinstance(choice, dict)]
    messages = [message for message in said if isinstance(message, dict)]
    if not messages:
        raise BadAnswer("choices without a message")
    return messages


def text_length_of(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return the number of characters in messages, tool calls included."""
    length = 0
    for message in messages:
        texts = [message.get("content"), message.get("reasoning"), *_arguments(message.get("tool_calls"))]
        length += sum([len(text) for text in texts if isinstance(text, str)])
    return length


def _arguments(calls: Any) -> list[Any]:
    if not isinstance(calls, list):
        return []
    functions = [call.get("function") for call in calls if isinstance(call, dict)]
    return [function.get("arguments") for function in functions if isinstance(function, dict)]


def model_of(body: Mapping[str, Any]) -> str | None:
    """Return the model's name if it is safe in a header, else None."""
    return upstream_json.name_of(body.get("model"))
