"""Parts of an answer that its checks read: text, tool calls and the end of each choice, streamed or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

_OTHER_CONTENT = ("audio", "images", "tool_calls", "function_call")


class ToolCall(Struct, frozen=True):
    """Tool call of an answer; `arguments` is text, JSON if the model has done well."""

    name: str
    arguments: str


class AnswerChoice(Struct, frozen=True):
    """One choice of an answer.

    Attributes:
        text: the content; only its end where `complete` is false.
        finish_reason: "" where the upstream gave none.
        refusal: whether the model refused.
        other: whether it has content beside text: tool calls of any type, audio, images.
        tool_calls: calls of functions.
        complete: whether text and arguments are whole.
    """

    text: str = ""
    finish_reason: str = ""
    refusal: bool = False
    other: bool = False
    tool_calls: tuple[ToolCall, ...] = ()
    complete: bool = True


def answer_choices(choices: Iterable[Mapping[str, Any]]) -> tuple[AnswerChoice, ...]:
    """Return the choices of a whole answer that have a message."""
    return tuple([_choice(choice, choice["message"]) for choice in choices if isinstance(choice.get("message"), dict)])


def _choice(choice: Mapping[str, Any], message: Mapping[str, Any]) -> AnswerChoice:
    other = has_other_content(message)
    return AnswerChoice(
        text=text_of(message.get("content")),
        finish_reason=text_field(choice, "finish_reason"),
        refusal=bool(message.get("refusal")),
        other=other,
        tool_calls=tuple([_tool_call(function) for _, function in functions_of(message)]) if other else (),
    )


def has_other_content(message: Mapping[str, Any]) -> bool:
    """Return whether a message, or delta, has content that is no text."""
    return any(message.get(name) for name in _OTHER_CONTENT)


def text_of(content: object) -> str:
    """Return the text of a content, a string or a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return "".join([text for text in texts if isinstance(text, str)])


def functions_of(message: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    """Return index and function of each function call, or part of one, in a message or delta."""
    calls, legacy = message.get("tool_calls"), message.get("function_call")
    found: list[tuple[int, Mapping[str, Any]]] = []
    for at, call in enumerate(calls if isinstance(calls, list) else ()):
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            index = call.get("index", at)
            found.append((index if type(index) is int else at, function))
    if isinstance(legacy, dict):
        found.append((0, legacy))
    return found


def text_field(fields: Mapping[str, Any], name: str) -> str:
    """Return a field, "" where it is no text."""
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _tool_call(function: Mapping[str, Any]) -> ToolCall:
    return ToolCall(text_field(function, "name"), text_field(function, "arguments"))
