"""Strict JSON parser for request bodies, and validation of the parsed object against a model.

The parser refuses what lenient parsers accept, change or crash on. The standard library's is used because it lets us
see every key (orjson silently keeps the last of two) and keeps integers exact: one beyond 64 bits becomes an
`orjson.Fragment`, which is written as it was read. It recurses, and its cost grows with the number of values, so both
are bounded before it runs: a scan at C speed removes strings and counts what is left (`long_json.py`, which also keeps
each step short).

Validation errors have OpenAI's codes and the field's name, and never echo the input.
"""

from __future__ import annotations

import json
import math
from copy import copy
from json.scanner import py_make_scanner  # type: ignore[attr-defined]  # its stub has the other one
from typing import Any, NoReturn, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from shared.errors import InvalidRequest
from shared.schemas.long_json import MAX_DEPTH, MAX_DIGITS, MAX_MARKS, Refused, holds, lightened, put_back

_BOM = b"\xef\xbb\xbf"
_INT_DIGITS = 20  # of 2**64 - 1, the largest integer that orjson writes


def load_object(raw: bytes) -> dict[str, Any]:
    """Parse one JSON object. Raises InvalidRequest with a code that names what is wrong, never its content."""
    value = load_json(raw)
    if not isinstance(value, dict):
        raise _invalid("The body must be a JSON object.")
    return value


def load_json(raw: bytes) -> Any:
    """Parse one JSON value. Raises InvalidRequest."""
    if raw.startswith(_BOM):
        raise _invalid("The body starts with a byte order mark.")
    taken: dict[str, str] = {}
    try:
        text, decoder = raw.decode("utf-8"), _DECODER
        if len(raw) > MAX_MARKS or raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
            text, taken = lightened(text, _DECODER.decode)
            decoder = _IN_STEPS
        value = decoder.decode(text)
    except UnicodeDecodeError as error:
        raise _invalid("The body is not valid UTF-8.") from error
    except Refused as error:
        raise InvalidRequest(str(error), code=error.code) from None
    except json.JSONDecodeError as error:
        raise _invalid(f"The body is not valid JSON: {error.msg} at character {error.pos}.") from None
    if "\\" in text and holds(text, "\\u"):  # the cheap test first: it is ten times faster
        _check_surrogates(value)
    return put_back(value, taken) if taken else value


def _check_surrogates(value: Any) -> None:
    r"""Refuse half a surrogate pair (`"\ud800"`), which no encoder further down could write."""
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise _invalid("A string holds half of a surrogate pair.") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise Refused("duplicate_key", "An object names the same key twice.")
    return result


def _int(text: str) -> int | orjson.Fragment:
    value = int(text) if len(text) <= _INT_DIGITS + 1 else None
    if value is not None and -(2**63) <= value < 2**64:
        return value
    if len(text) > MAX_DIGITS:
        raise Refused("invalid_json", f"A number has more than {MAX_DIGITS} digits.")
    return orjson.Fragment(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Refused("invalid_json", "A number is too large.")
    return value


def _constant(_text: str) -> NoReturn:
    raise Refused("invalid_json", "NaN and Infinity are not JSON.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_int, parse_float=_float, parse_constant=_constant, strict=True
)
_IN_STEPS = copy(_DECODER)
"""The same decoder in steps of Python: one C call for a whole list would hold the GIL until its end."""
_IN_STEPS.scan_once = py_make_scanner(_IN_STEPS)  # type: ignore[attr-defined]  # it is set the same way there


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_json")


M = TypeVar("M", bound=BaseModel)


def validate(model: type[M], fields: dict[str, Any]) -> M:
    """Check a JSON object against `model`. Raises InvalidRequest for the first field that does not fit."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    raise InvalidRequest(
        _sentence(problem["type"], problem["msg"]), code=_code(problem["type"]), param=_path(problem["loc"])
    )


def _path(location: tuple[int | str, ...]) -> str:
    """Return `messages[0].role` for ("messages", 0, "role")."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path


def _code(kind: str) -> str:
    if kind == "missing":
        return "missing_required_parameter"
    return "invalid_type" if kind.endswith(("_type", "int_from_float")) else "invalid_value"


def _sentence(kind: str, message: str) -> str:
    if kind == "model_type":
        return "Input should be an object."
    return message.removeprefix("Value error, ").rstrip(".") + "."
