"""JSON of upstreams: a lenient parser, and checks of single values.

The parser reads what OpenAI's SDKs read: orjson first, the standard library for what orjson refuses. That is: half
surrogates (servers in JavaScript that cut a text between the two), NaN and Infinity, a byte order mark, control
characters inside strings, and bytes that are not UTF-8 (read as U+FFFD, as JavaScript's decoder does).

A check returns None for a value of a wrong type, and for an impossible one.
"""

from __future__ import annotations

import json
import math
import re
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
    """Return the value, and the text to pass on: `raw` itself, unless strict clients cannot read it. Raises ValueError.

    Strict clients read neither bytes that are not UTF-8 nor control characters inside strings.
    """
    try:
        return orjson.loads(raw), raw
    except orjson.JSONDecodeError:
        pass
    text = raw.removeprefix(_BYTE_ORDER_MARK).decode("utf-8", "replace")
    try:
        return json.loads(text, parse_int=_integer), text.encode() if REPLACED in text else raw
    except json.JSONDecodeError:
        pass
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    value = json.loads(text, parse_int=_integer, strict=False)
    return value, dumps(value)


def dumps(value: object) -> bytes:
    """Return a value that `loads` returned as JSON again, in ASCII where orjson cannot write it."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode("ascii")


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


MAX_TOKENS = 100_000_000
MAX_COST_USD = 10_000.0
"""Figures beyond these are an upstream's mistake or attack; a bill is made from our own count instead."""

_MODEL_NAME = re.compile(r"[!-~]{1,256}")


def count_of(value: Any) -> int | None:
    """Return a number of tokens."""
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else None


def amount_of(value: Any, limit: float) -> float | None:
    """Return USD from a number or, as OpenRouter writes prices, from a string."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = float(value)
    except (ValueError, OverflowError):
        return None
    return amount if math.isfinite(amount) and 0 <= amount <= limit else None


def name_of(value: Any) -> str | None:
    """Return the name of a model if it is safe in a header."""
    return value if isinstance(value, str) and _MODEL_NAME.fullmatch(value) else None
