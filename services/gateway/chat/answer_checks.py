"""Checks of a served answer without a model. A failed one is evidence against the model, and recorded by its word.

| check | the answer fails it where |
|---|---|
| `empty` | it has no content at all: no text, no tool call, no audio or image, no refusal |
| `cut` | it ended at a limit of its length |
| `refused` | the model refused, or a filter cut it |
| `format` | JSON was asked for, and it is none or does not fit the schema |
| `tool_call` | it calls a tool that was not offered, or with arguments that are no JSON or do not fit |
| `repetition` | its end repeats itself without an end |

All are bounded in time. One that cannot be decided, because the answer or the schema is too large, counts as passed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import orjson

from services.gateway.chat.json_schema import TooComplex, fits
from shared.schemas.answer_parts import AnswerChoice, ToolCall

MAX_JSON_CHARS = 65_536
"""Longer answers and arguments are not parsed."""

TAIL_CHARS = 8_192
PROBE_CHARS = 64
MIN_REPEATED_CHARS, MIN_REPEATS = 1_000, 6
"""An end of so many characters that consists of so many copies of one piece is a loop."""


class Check(StrEnum):
    """A check of an answer; the word is a label and a field of the record."""

    EMPTY = "empty"
    CUT = "cut"
    REFUSED = "refused"
    FORMAT = "format"
    TOOL_CALL = "tool_call"
    REPETITION = "repetition"


def failed_checks(body: Mapping[str, object], choices: Sequence[AnswerChoice]) -> tuple[str, ...]:
    """Return the checks that the answer to `body` fails, in the order of `Check`; each choice has to pass."""
    failed = {check for choice in choices for check in _failed(body, choice)}
    return tuple(check.value for check in Check if check in failed)


def _failed(body: Mapping[str, object], choice: AnswerChoice) -> list[Check]:
    text, calls = choice.text, choice.tool_calls
    failed = []
    if choice.refusal or choice.finish_reason == "content_filter":
        failed.append(Check.REFUSED)
    elif not choice.other and not text.strip():
        failed.append(Check.EMPTY)
    if choice.finish_reason == "length":
        failed.append(Check.CUT)
    if not failed and choice.complete:  # else it is known why it does not fit
        if calls and not _calls_fit(body, calls):
            failed.append(Check.TOOL_CALL)
        if not choice.other and body.get("response_format") and not _format_fits(body["response_format"], text):
            failed.append(Check.FORMAT)
    if len(text) >= MIN_REPEATED_CHARS and repeats_itself(text):
        failed.append(Check.REPETITION)
    return failed


def repeats_itself(text: str) -> bool:
    """Return whether the end of `text` consists of copies of one piece."""
    tail = text[-TAIL_CHARS:]
    start = tail.rfind(tail[-PROBE_CHARS:], 0, -1)
    if start < 0:
        return False
    period = len(tail) - PROBE_CHARS - start
    run = max(MIN_REPEATED_CHARS, MIN_REPEATS * period)
    end = tail[-run:]
    return len(end) == run and end[period:] == end[:-period]


def _format_fits(wanted: object, text: str) -> bool:
    if not isinstance(wanted, dict) or wanted.get("type") not in ("json_object", "json_schema"):
        return True
    described = wanted.get("json_schema")
    return _json_fits(text, described.get("schema") if isinstance(described, dict) else None)


def _calls_fit(body: Mapping[str, object], calls: Sequence[ToolCall]) -> bool:
    offered = _parameters(body)
    return all(call.name in offered and _json_fits(call.arguments or "{}", offered[call.name]) for call in calls)


def _parameters(body: Mapping[str, object]) -> dict[str, object]:
    """Return the schema of each offered tool's arguments, None without one."""
    tools, functions = body.get("tools"), body.get("functions")
    offered = [tool.get("function") for tool in _list(tools) if isinstance(tool, dict)] + _list(functions)
    return {
        function["name"]: function.get("parameters")
        for function in offered
        if isinstance(function, dict) and isinstance(function.get("name"), str)
    }


def _json_fits(text: str, schema: object) -> bool:
    """Return whether `text` is JSON that fits `schema`; without one, whether it is a JSON object."""
    if len(text) > MAX_JSON_CHARS:
        return True
    try:
        return fits(orjson.loads(text), {"type": "object"} if schema is None else schema)
    except ValueError:
        return False
    except TooComplex:
        return True


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
