"""JSON from strangers: what a lenient parser would let through, bend or crash on is refused here.

The standard library's parser is used because it lets us see every key (orjson silently keeps the last of two) and
keeps integers exact. It recurses, and its cost grows with the number of values, so both are bounded before it runs: a
scan at C speed removes strings and counts what is left. No input stalls the caller for more than a few milliseconds
per megabyte.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import orjson

from shared.errors import InvalidRequest

MAX_DEPTH = 64
MAX_MARKS = 100_000
"""Brackets, commas and colons outside strings, about three for each value: enough for 10,000 chat messages."""

_BOM = b"\xef\xbb\xbf"
_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_NOT_MARKS = bytes(sorted(set(range(256)) - set(b"[]{},:")))
_INT_DIGITS = 20  # of 2**64 - 1, the largest integer that goes on unchanged


class _Refused(ValueError):
    """The document is JSON, but not one that we pass on."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def load_object(raw: bytes) -> dict[str, Any]:
    """Parse one JSON object. Raises InvalidRequest with a code that names what is wrong, never its content."""
    if raw.startswith(_BOM):
        raise _invalid("The body starts with a byte order mark.")
    _check_size(raw)
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _invalid("The body is not valid UTF-8.") from error
    except _Refused as error:
        raise InvalidRequest(str(error), code=error.code) from None
    except json.JSONDecodeError as error:
        raise _invalid(f"The body is not valid JSON: {error.msg} at character {error.pos}.") from None
    if not isinstance(value, dict):
        raise _invalid("The body must be a JSON object.")
    if b"\\" in raw and b"\\u" in raw:  # the first test is ten times faster
        _check_surrogates(value)
    return value


def _check_size(raw: bytes) -> None:
    """Bound depth and number of values without parsing.

    The count is exact for valid JSON. In anything else it is exact up to the first error, where the parser stops.
    """
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH and len(raw) <= MAX_MARKS:
        return
    unescaped = raw.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in raw else raw
    parts = unescaped.split(b'"', 2 * MAX_MARKS + 1)
    marks = b"".join(parts[::2]).translate(None, _NOT_MARKS)
    depth = 0
    for bracket in marks[:MAX_MARKS].translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise InvalidRequest(f"The body is nested deeper than {MAX_DEPTH} levels.", code="too_deep")
    if len(parts) > 2 * MAX_MARKS + 1 or len(marks) > MAX_MARKS:
        raise InvalidRequest("The body holds too many values.", code="too_complex")


def _check_surrogates(value: dict[str, Any]) -> None:
    r"""Refuse half a surrogate pair (`"\ud800"`), which no encoder further down could write."""
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise _invalid("A string holds half of a surrogate pair.") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _Refused("duplicate_key", "An object names the same key twice.")
    return result


def _int(text: str) -> int:
    value = int(text) if len(text) <= _INT_DIGITS + 1 else None
    if value is None or not -(2**63) <= value < 2**64:
        raise _Refused("invalid_json", "An integer does not fit into 64 bits.")
    return value


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Refused("invalid_json", "A number is too large.")
    return value


def _constant(_text: str) -> NoReturn:
    raise _Refused("invalid_json", "NaN and Infinity are not JSON.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_int, parse_float=_float, parse_constant=_constant, strict=True
)


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_json")
