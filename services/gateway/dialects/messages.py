"""Anthropic's Messages: answers, whole and streamed, and the shape of errors; `messages_request.py` reads requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.gateway.dialects.answer_parts import AnswerParts, Part, PartKind, Tokens
from services.gateway.dialects.dialect import Dialect, Envelope, event
from services.gateway.dialects.messages_request import MessagesFields, chat_body_of
from services.gateway.dialects.original import messages_with_original
from shared.clients.upstream_json import dumps, loads
from shared.schemas.chat import Translated
from shared.schemas.strict_json import validate
from shared.schemas.upstream import MESSAGES as API

_STOP_REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "function_call": "tool_use",
                 "content_filter": "refusal"}  # fmt: skip
_ERROR_TYPES = {
    401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 500: "api_error", 502: "api_error", 503: "overloaded_error",
    504: "timeout_error",
}  # fmt: skip
_CHARS_PER_TOKEN = 4


class MessagesExchange:
    """One Messages request. `Exchange` describes the methods."""

    def __init__(self) -> None:
        self._thinks = False

    def chat_body(self, body: dict[str, Any]) -> Translated:
        """Return the request as a chat body. Raises InvalidRequest."""
        validate(MessagesFields, body)
        self._thinks = (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")
        return messages_with_original(body, chat_body_of)

    def answer(self, chat_answer: Mapping[str, Any], envelope: Envelope) -> bytes:
        """Return a whole answer."""
        parts = AnswerParts(envelope.request_id)
        for _ in parts.read(chat_answer):
            pass
        content = [block for part in parts.parts if (block := _whole_block(part, thinks=self._thinks)) is not None]
        message = _message(envelope, parts.model, content)
        return dumps({**message, "stop_reason": _stop_reason(parts), "usage": _usage(_tokens(parts, envelope))})

    def events(self, envelope: Envelope) -> MessagesEvents:
        """Return the writer of a streamed answer."""
        return MessagesEvents(envelope, thinks=self._thinks)


class MessagesEvents:
    """Streamed answer: blocks of content, of which one is open at a time, tool calls until the end."""

    def __init__(self, envelope: Envelope, *, thinks: bool) -> None:
        self._envelope = envelope
        self._thinks = thinks
        self._parts = AnswerParts(envelope.request_id)
        self._started = False
        self._open: list[int] = []
        self._blocks: dict[int, int] = {}  # index of the part to index of the block

    def chunk(self, body: Mapping[str, Any]) -> bytes:
        """Translate one chunk."""
        deltas = list(self._parts.read(body))
        return b"".join([self._start(), *(self._delta(part, text) for part, text in deltas)])

    def end(self) -> bytes:
        """Return the end of a whole answer."""
        usage = _usage(_tokens(self._parts, self._envelope))
        delta = {"stop_reason": _stop_reason(self._parts), "stop_sequence": None}
        return b"".join(
            [self._start(), *map(_stopped, self._open), event("message_delta", {"delta": delta, "usage": usage}),
             event("message_stop", {})]
        )  # fmt: skip

    def fail(self, error: Mapping[str, Any], *, original: bool) -> bytes:  # noqa: ARG002 - the same event
        """Return the end of a broken answer."""
        return event("error", {"error": {"type": "api_error", "message": error["message"], "code": error.get("code")}})

    def _start(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        usage = _usage(Tokens(prompt=self._envelope.prompt_tokens))
        message = {**_message(self._envelope, self._parts.model, []), "stop_reason": None, "usage": usage}
        return event("message_start", {"message": message})

    def _delta(self, part: Part, text: str) -> bytes:
        block = _empty_block(part, thinks=self._thinks)
        if block is None:
            return b""
        events = [] if part.index in self._blocks else self._opened(part, block)
        if text:
            events.append(
                event("content_block_delta", {"index": self._blocks[part.index], "delta": _delta(part, text)})
            )
        return b"".join(events)

    def _opened(self, part: Part, block: Mapping[str, Any]) -> list[bytes]:
        """Open the block of a part. A text ends where another part begins; parallel tool calls may alternate."""
        ended = [index for index in self._open if self._kind(index) is not PartKind.CALL]
        self._open = [index for index in self._open if index not in ended]
        index = self._blocks[part.index] = len(self._blocks)
        self._open.append(index)
        return [*map(_stopped, ended), event("content_block_start", {"index": index, "content_block": block})]

    def _kind(self, block: int) -> PartKind:
        part = next(part for part, index in self._blocks.items() if index == block)
        return self._parts.parts[part].kind


def _message(envelope: Envelope, model: str | None, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"msg_{envelope.request_id}", "type": "message", "role": "assistant", "model": model or envelope.model,
        "content": content, "stop_sequence": None,
    }  # fmt: skip


def _empty_block(part: Part, *, thinks: bool) -> dict[str, Any] | None:
    """Return the block of a part at its beginning; None for reasoning that the client has not asked for."""
    if part.kind is PartKind.CALL:
        return {"type": "tool_use", "id": part.call_id, "name": part.name, "input": {}}
    if part.kind is PartKind.REASONING:
        return {"type": "thinking", "thinking": "", "signature": ""} if thinks else None
    return {"type": "text", "text": ""}


def _whole_block(part: Part, *, thinks: bool) -> dict[str, Any] | None:
    block = _empty_block(part, thinks=thinks)
    if block is None:
        return None
    if part.kind is not PartKind.CALL:
        return {**block, block["type"]: part.text}
    try:
        arguments = loads(part.text.encode()) if part.text else {}
    except ValueError:
        arguments = None
    # A model's arguments may not be an object: the client gets them as text, which its own check of the schema refuses.
    return {**block, "input": arguments if isinstance(arguments, dict) else {"arguments": part.text}}


def _delta(part: Part, text: str) -> dict[str, str]:
    if part.kind is PartKind.CALL:
        return {"type": "input_json_delta", "partial_json": text}
    if part.kind is PartKind.REASONING:
        return {"type": "thinking_delta", "thinking": text}
    return {"type": "text_delta", "text": text}


def _stopped(index: int) -> bytes:
    return event("content_block_stop", {"index": index})


def _stop_reason(parts: AnswerParts) -> str:
    called = any(part.kind is PartKind.CALL for part in parts.parts)
    # Some upstreams end a tool call with `stop`; a client would then not answer the call.
    return "tool_use" if called and parts.finish == "stop" else _STOP_REASONS.get(parts.finish or "", "end_turn")


def _tokens(parts: AnswerParts, envelope: Envelope) -> Tokens:
    """Return the reported token counts, else estimates."""
    estimate = Tokens(envelope.prompt_tokens, sum(len(part.text) for part in parts.parts) // _CHARS_PER_TOKEN)
    return parts.tokens or estimate


def _usage(tokens: Tokens) -> dict[str, int]:
    """Return the usage; input tokens are without those that were read from the cache."""
    return {
        "input_tokens": max(0, tokens.prompt - tokens.cached), "output_tokens": tokens.completion,
        "cache_read_input_tokens": tokens.cached, "cache_creation_input_tokens": 0,
    }  # fmt: skip


def _error(status: int, error: Mapping[str, Any], request_id: str) -> bytes:
    """Return an error in Anthropic's shape. It has no field for the parameter, so the message names it."""
    param, message = error.get("param"), error.get("message")
    said = {
        "type": _ERROR_TYPES.get(status, "invalid_request_error"),
        "message": f"{param}: {message}" if param else message,
        "code": error.get("code"),
    }
    return dumps({"type": "error", "error": said, "request_id": request_id})


_FIELDS = {
    "max_completion_tokens": "max_tokens", "reasoning_effort": "thinking", "response_format": "output_config.format",
}  # fmt: skip

MESSAGES = Dialect(
    MessagesExchange, _FIELDS, _error, API, "anthropic-version", passed_headers=("anthropic-version", "anthropic-beta")
)
