"""Tool loops: the model of a tool call is stored under the call's id, so that its result goes to the same model.

An id alone is not enough: some servers count from `call_0` in each conversation. So a key is the id with the
conversation's beginning, its system prompt and first user message. There is a second key without the system prompt,
which some clients write anew for each request, with the time in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MAX_CALLS = 8
"""Most stored calls of one answer; clients send the results of all of them together."""

_RESULTS = frozenset({"tool", "function"})
_SYSTEM = frozenset({"system", "developer"})
_DIGITS = 32
_MAX_CHARS = 4096
"""Hashed characters of a message: enough to tell conversations apart, cheap for long ones."""


def call_ids_of(messages: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the ids of the tool calls in messages, or deltas, of an answer; the name of a call without an id."""
    found: dict[str, None] = {}
    for message in messages:
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict) and isinstance(call.get("id"), str) and call["id"]:
                found[call["id"]] = None
        legacy = message.get("function_call")
        if isinstance(legacy, dict) and isinstance(legacy.get("name"), str) and legacy["name"]:
            found[legacy["name"]] = None
    return tuple(found)


def call_keys(body: Mapping[str, Any], ids: Sequence[str]) -> tuple[str, ...]:
    """Return the keys under which the model of these tool calls is stored."""
    if not ids:
        return ()
    exact, loose = _beginnings(body)
    return tuple(_key(beginning, call) for call in ids[:MAX_CALLS] for beginning in (exact, loose))


def awaited_keys(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys of the calls whose results end a request, the likeliest first; () where no result does."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or messages[-1].get("role") not in _RESULTS:
        return ()
    last = messages[-1]
    said = last.get("tool_call_id") or last.get("name")
    ids = (said,) if isinstance(said, str) else ()
    caller: Mapping[str, Any] = next(
        (message for message in reversed(messages) if message.get("role") not in _RESULTS), {}
    )
    return call_keys(body, tuple(dict.fromkeys((*call_ids_of((caller,))[:1], *ids))))


def _beginnings(body: Mapping[str, Any]) -> tuple[str, str]:
    """Return the conversation's beginning with, and without, its system prompt."""
    messages = body.get("messages")
    listed = messages if isinstance(messages, list) else []
    system = "\0".join([_text(message) for message in listed[:2] if message.get("role") in _SYSTEM])
    user = next((_text(message) for message in listed if message.get("role") == "user"), "")
    return f"1{system}\0{user}", f"2{user}"


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        texts = [part.get("text") for part in content[:MAX_CALLS] if isinstance(part, dict)]
        content = "\0".join([text[:_MAX_CHARS] for text in texts if isinstance(text, str)])
    return content[:_MAX_CHARS] if isinstance(content, str) else ""


def _key(beginning: str, call: str) -> str:
    return hashlib.sha256(f"tool\0{call}\0{beginning}".encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
