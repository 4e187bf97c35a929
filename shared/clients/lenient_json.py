"""Lenient JSON parser, as OpenAI's SDKs read: orjson first, the standard library for what orjson refuses.

That is: half surrogates (servers in JavaScript that cut a text between the two), NaN and Infinity, a byte order mark,
and bytes that are not UTF-8 (read as U+FFFD, as JavaScript's decoder does).
"""

from __future__ import annotations

import json
from typing import Any

import orjson

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
REPLACED = "\ufffd"
MAX_DIGITS = 4300
"""Python refuses to read longer integers; such a number is read as a float."""


def loads(raw: bytes) -> Any:
    """Return the value. Raises ValueError."""
    return read(raw)[0]


def read(raw: bytes) -> tuple[Any, bytes]:
    """Return the value, and the text to pass on: `raw` itself, unless it is not UTF-8. Raises ValueError."""
    try:
        return orjson.loads(raw), raw
    except orjson.JSONDecodeError:
        pass
    text = raw.removeprefix(_BYTE_ORDER_MARK).decode("utf-8", "replace")
    try:
        value = json.loads(text, parse_int=_integer)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value, text.encode() if REPLACED in text else raw


def dumps(value: object) -> bytes:
    """Return a value that `loads` returned as JSON again, in ASCII where orjson cannot write it."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode("ascii")


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)
