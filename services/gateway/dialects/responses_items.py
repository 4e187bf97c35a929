"""Objects of the Responses API: the response itself, and the items of its output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.gateway.dialects.answer_parts import AnswerParts, Part, PartKind
from services.gateway.dialects.dialect import Envelope
from services.gateway.dialects.tool_names import ToolNames

IN_PROGRESS, COMPLETED, INCOMPLETE, FAILED = "in_progress", "completed", "incomplete", "failed"

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Reasons of answers that are not complete, by chat's `finish_reason`."""
_PREFIXES = {PartKind.CALL: "fc", PartKind.REASONING: "rs", PartKind.TEXT: "msg", PartKind.REFUSAL: "msg"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a response says of its request: its fields, the names of its tools, and the envelope."""

    fields: Mapping[str, Any]
    names: ToolNames
    envelope: Envelope


def response(request: Asked, parts: AnswerParts, status: str) -> dict[str, Any]:
    """Return a response object; its output is there once it has ended."""
    asked, envelope = request.fields, request.envelope
    reasoning = asked.get("reasoning") or {}
    return {
        "id": f"resp_{envelope.request_id}",
        "object": "response",
        "created_at": envelope.created_at,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": _INCOMPLETE[parts.finish or ""]} if status == INCOMPLETE else None,
        "instructions": asked.get("instructions"),
        "max_output_tokens": asked.get("max_output_tokens"),
        "metadata": asked.get("metadata") or {},
        "model": parts.model or envelope.model,
        "output": [] if status == IN_PROGRESS else [item(part, request, COMPLETED) for part in parts.parts],
        "parallel_tool_calls": asked.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "store": False,
        "temperature": asked.get("temperature"),
        "text": asked.get("text") or {"format": {"type": "text"}},
        "tool_choice": asked.get("tool_choice") or "auto",
        "tools": asked.get("tools") or [],
        "top_p": asked.get("top_p"),
        "truncation": "disabled",
        "usage": None if status == IN_PROGRESS else _usage(parts),
    }


def ended(request: Asked, parts: AnswerParts) -> dict[str, Any]:
    """Return the response object of an answer that has ended by itself."""
    return response(request, parts, INCOMPLETE if parts.finish in _INCOMPLETE else COMPLETED)


def item(part: Part, request: Asked, status: str) -> dict[str, Any]:
    """Return the item of the output that a part is; while in progress it is empty."""
    shown = "" if status == IN_PROGRESS else part.text
    fields: dict[str, Any] = {"id": item_id(part, request)}
    if part.kind is PartKind.CALL:
        space, name = request.names.original(part.name)
        call = {"call_id": part.call_id, "name": name, "arguments": shown}
        in_space = {} if space is None else {"namespace": space}
        return {**fields, "type": "function_call", "status": status, **call, **in_space}
    inner = [content(part, shown)] if shown else []
    if part.kind is PartKind.REASONING:
        return {**fields, "type": "reasoning", "summary": inner}
    return {**fields, "type": "message", "role": "assistant", "status": status, "content": inner}


def item_id(part: Part, request: Asked) -> str:
    """Return the id of the item that a part is."""
    return f"{_PREFIXES[part.kind]}_{request.envelope.request_id}_{part.index}"


def content(part: Part, text: str) -> dict[str, Any]:
    """Return the content of an item."""
    if part.kind is PartKind.REASONING:
        return {"type": "summary_text", "text": text}
    if part.kind is PartKind.REFUSAL:
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(parts: AnswerParts) -> dict[str, Any] | None:
    tokens = parts.tokens
    if tokens is None:
        return None
    return {
        "input_tokens": tokens.prompt,
        "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": 0},
        "output_tokens": tokens.completion,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.prompt + tokens.completion,
    }
