"""Strict readers of JSON values: an unknown field or a wrong type is an error, never ignored."""

from __future__ import annotations

import math
import uuid
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from deploy.qdrant_engine.problems import invalid, malformed, unsupported, wrong_input

PointId = int | str
_MOST = float(np.finfo(np.float32).max)
MAX_LIMIT = 100_000
"""Rows of one reply; a larger one would block the process for seconds."""


def fields(raw: Any, what: str, known: Collection[str]) -> Mapping[str, Any]:
    """Return the object without its nulls; a field outside `known` is refused with 501."""
    if not isinstance(raw, dict):
        raise malformed(f"{what} must be an object")
    given = {name: value for name, value in raw.items() if value is not None}
    for name in given:
        if name not in known:
            raise unsupported(f"`{name}` in {what}")
    return given


def whole(value: Any, what: str, *, least: int, most: int = MAX_LIMIT) -> int:
    """Return an integer inside its range."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise malformed(f"{what} must be an integer")
    if not least <= value <= most:
        raise invalid(f"{what}: value {value} invalid, must be from {least} to {most}")
    return value


def real(value: Any, what: str) -> float:
    """Return a finite number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise malformed(f"{what} must be a finite number")
    return float(value)


def text(value: Any, what: str) -> str:
    """Return a string."""
    if not isinstance(value, str) or not value:
        raise malformed(f"{what} must be a string")
    return value


def truth(value: Any, what: str) -> bool:
    """Return a boolean."""
    if not isinstance(value, bool):
        raise malformed(f"{what} must be true or false")
    return value


def items(value: Any, what: str) -> list[Any]:
    """Return a list."""
    if not isinstance(value, list):
        raise malformed(f"{what} must be a list")
    return value


def point_id(value: Any) -> PointId:
    """Return an unsigned 64-bit integer or a UUID in its usual form."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64:
        return value
    if isinstance(value, str):
        try:
            return str(uuid.UUID(value))
        except ValueError:
            pass
    raise malformed(f"value {value} is not a valid point ID, valid values are either an unsigned integer or a UUID")


_NUMBERS = {int, float}


def vector(value: Any, size: int) -> list[float]:
    """Return one dense, finite vector of that size; the engine itself would accept infinities."""
    if isinstance(value, dict):
        raise unsupported("named or sparse vectors, and inference")
    numbers = items(value, "vector")
    if not set(map(type, numbers)) <= _NUMBERS:
        raise malformed("a vector is a flat list of numbers")
    if len(numbers) != size:
        raise wrong_input(f"Vector dimension error: expected dim: {size}, got {len(numbers)}")
    if numbers and not -_MOST <= min(numbers) <= max(numbers) <= _MOST:
        raise wrong_input("a vector's numbers must fit into 32-bit floats")
    return numbers
