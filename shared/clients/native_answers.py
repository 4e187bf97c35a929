"""Answers in other APIs than chat completions: read as chat answers, for their facts alone; clients get the original.

Of a stream, each event is read as a chunk of a chat answer. A tool call's place is the index of its block or item.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from shared.clients.answers import BadAnswer, RefusalOf, answer_of, error_of, model_of, parse_object
from shared.clients.upstream_errors import garbage
from shared.clients.upstream_json import dumps
from shared.clients.usage import usage_of
from shared.schemas.upstream import EMBEDDINGS, MESSAGES, RESPONSES, Answer

_CONTENTS = {EMBEDDINGS: "data", MESSAGES: "content", RESPONSES: "output"}
"""Field of a whole answer that holds what it says."""
_REASONS = {
    "max_tokens": "length", "max_output_tokens": "length", "model_context_window_exceeded": "length",
    "tool_use": "tool_calls", "refusal": "content_filter", "content_filter": "content_filter",
}  # fmt: skip
_INPUT_TOKENS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")

Json = Mapping[str, Any]


class NativeEvents(Protocol):
    """Reader of the events of one stream. `ended`: whether the last one was read."""

    ended: bool

    def as_chunk(self, event: Json) -> dict[str, Any]:
        """Return the facts of an event as a chunk of a chat answer."""


def native_events(api: str) -> NativeEvents:
    """Return the reader of a stream of `api`."""
    return _MessagesEvents() if api == MESSAGES else _ResponsesEvents()


def native_answer_of(api: str, raw: bytes, refusal: RefusalOf) -> Answer:
    """Return a whole answer of `api`, whose body is the original. Raises UpstreamError."""
    try:
        body, raw = parse_object(raw)
    except BadAnswer as error:
        raise garbage(str(error)) from error
    failure = error_of(body, ())
    if failure is not None:
        raise refusal(failure)
    content = body.get(_CONTENTS[api])
    if not isinstance(content, list):
        raise garbage(f"no `{_CONTENTS[api]}`")
    if api == EMBEDDINGS:
        return Answer(raw, usage_of(body), model_of(body), api=api)
    chat = _of_message(body) if api == MESSAGES else _of_response(body)
    found = answer_of(dumps({**chat, "model": body.get("model")}), refusal)
    return Answer(raw, found.usage, found.model, found.chars, found.calls, found.choices, api)


# -- Messages ----------------------------------------------------------------------------------------------------------


class _MessagesEvents:
    def __init__(self) -> None:
        self.ended = False
        self._usage: dict[str, Any] = {}

    def as_chunk(self, event: Json) -> dict[str, Any]:
        match event.get("type"):
            case "message_start":
                return {"usage": self._used(_object(event.get("message")))}
            case "content_block_start":
                return _chunk(_block(_object(event.get("content_block")), event.get("index")))
            case "content_block_delta":
                return _chunk(_block_delta(_object(event.get("delta")), event.get("index")))
            case "message_delta":
                reason = _object(event.get("delta")).get("stop_reason")
                return _chunk({}, _reason(reason) if reason else None) | {"usage": self._used(event)}
            case "message_stop":
                self.ended = True
            case "error":
                return {"error": event.get("error") or {}}
        return {}

    def _used(self, holder: Json) -> dict[str, Any]:
        """Return the usage so far: later events repeat some of its counts, and leave others out."""
        self._usage |= {name: value for name, value in _object(holder.get("usage")).items() if value is not None}
        return _messages_usage(self._usage)


def _of_message(body: Json) -> dict[str, Any]:
    blocks = _objects(body.get("content"))
    parts = [_block(block, index, whole=True) for index, block in enumerate(blocks)]
    choice = {"message": _joined(parts), "finish_reason": _reason(body.get("stop_reason"))}
    return {"choices": [choice], "usage": _messages_usage(_object(body.get("usage")))}


def _block(block: Json, index: object, *, whole: bool = False) -> dict[str, Any]:
    """Return what a block says; at the beginning of a stream's block its input is empty."""
    match block.get("type"):
        case "text":
            return {"content": block.get("text")}
        case "tool_use":
            arguments = dumps(block.get("input") or {}).decode() if whole else ""
            return _call(index, arguments, call_id=block.get("id"), name=block.get("name"))
    return {}


def _block_delta(delta: Json, index: object) -> dict[str, Any]:
    match delta.get("type"):
        case "text_delta":
            return {"content": delta.get("text")}
        case "input_json_delta":
            return _call(index, delta.get("partial_json"))
    return {}


def _messages_usage(usage: Json) -> dict[str, Any]:
    """Return the usage in chat's terms: there, the prompt's tokens include those of the cache."""
    counts = [usage[name] for name in _INPUT_TOKENS if isinstance(usage.get(name), int)]
    cached = usage.get("cache_read_input_tokens")
    return {
        **{name: usage[name] for name in ("cost", "cost_details", "is_byok") if name in usage},
        "prompt_tokens": sum(counts) if counts else None,
        "completion_tokens": usage.get("output_tokens"),
        "prompt_tokens_details": {"cached_tokens": cached},
    }


# -- Responses ---------------------------------------------------------------------------------------------------------


class _ResponsesEvents:
    def __init__(self) -> None:
        self.ended = False

    def as_chunk(self, event: Json) -> dict[str, Any]:
        response = _object(event.get("response"))
        match event.get("type"):
            case "response.completed" | "response.incomplete":
                self.ended = True
                return _chunk({}, _status(response)) | {"usage": response.get("usage")}
            case "response.failed":
                return {"error": response.get("error") or {"message": "The response failed."}}
            case "error":
                return {"error": {name: event.get(name) for name in ("code", "message", "param")}}
        return _chunk(_item_delta(event))


def _item_delta(event: Json) -> dict[str, Any]:
    """Return what an event of an item says."""
    delta, item = event.get("delta"), _object(event.get("item"))
    match event.get("type"):
        case "response.output_text.delta":
            return {"content": delta}
        case "response.refusal.delta":
            return {"refusal": delta}
        case "response.function_call_arguments.delta":
            return _call(event.get("output_index"), delta)
        case "response.output_item.added" if item.get("type") == "function_call":
            return _call(event.get("output_index"), "", call_id=item.get("call_id"), name=item.get("name"))
    return {}


def _of_response(body: Json) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    for index, item in enumerate(_objects(body.get("output"))):
        if item.get("type") == "function_call":
            parts.append(_call(index, item.get("arguments"), call_id=item.get("call_id"), name=item.get("name")))
        if item.get("type") == "message":
            parts += map(_said, _objects(item.get("content")))
    return {"choices": [{"message": _joined(parts), "finish_reason": _status(body)}], "usage": body.get("usage")}


def _said(part: Json) -> dict[str, Any]:
    return {"refusal": part["refusal"]} if part.get("refusal") else {"content": part.get("text")}


def _status(response: Json) -> str:
    """Return the finish reason of a response."""
    if response.get("status") == "incomplete":
        return _reason(_object(response.get("incomplete_details")).get("reason") or "max_output_tokens")
    called = any(item.get("type") == "function_call" for item in _objects(response.get("output")))
    return "tool_calls" if called else "stop"


# -- chat --------------------------------------------------------------------------------------------------------------


def _reason(reason: object) -> str:
    return _REASONS.get(str(reason), "stop")


def _chunk(delta: Json, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def _call(index: object, arguments: object, *, call_id: object = None, name: object = None) -> dict[str, Any]:
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    call = {"index": index, "type": "function", "function": function}
    return {"tool_calls": [call if call_id is None else {**call, "id": call_id}]}


def _joined(parts: Iterable[Json]) -> dict[str, Any]:
    """Return the parts of an answer as one message."""
    texts = [part["content"] for part in parts if isinstance(part.get("content"), str)]
    calls = [call for part in parts for call in part.get("tool_calls", ())]
    refused = [part["refusal"] for part in parts if part.get("refusal")]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts)}
    return message | ({"tool_calls": calls} if calls else {}) | ({"refusal": refused[0]} if refused else {})


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
