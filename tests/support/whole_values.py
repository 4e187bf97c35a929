"""Comparison of whole values: what a fake and its real adapter return, with all fields, however the types grow."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np
import pytest

from shared.errors import RouterError

Ids = dict[tuple[str, str], int]
"""Number of each entry, by type and id, in the order in which one side has shown them: ids are each server's own."""

TOLERANCE = {
    "requests": 0.9,
    "tokens": 90.0,
    "age_s": 5.0,
    "rests": 5.0,
    "lasts_s": 5.0,
    "similarity": 1e-5,
    "rows": 1e-5,
}
"""Of fields that depend on a server's own clock, or on float32. Levels of buckets refill: a request in ten seconds, ten
tokens a second.
"""


def plain(value: object, name: str = "", ids: Ids | None = None) -> Any:
    """Return a value as nested lists and dictionaries, all of its fields included."""
    if isinstance(value, float):
        return pytest.approx(value, rel=1e-6, abs=TOLERANCE.get(name, 1e-7))  # cosines are float32
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.tolist()]
    if fields := fields_of(value):
        found = {field: plain(getattr(value, field), field, ids) for field in fields}
        if ids is not None and "entry_id" in found:
            found["entry_id"] = ids.setdefault((type(value).__name__, found["entry_id"]), len(ids))
        return found
    if isinstance(value, Mapping):
        return {key: plain(each, name, ids) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | Enum):
        return [plain(each, name, ids) for each in value]
    return value


def fields_of(value: object) -> Sequence[str]:
    """Return the names of all fields of a dataclass, a Struct or a pydantic model; none of anything else."""
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    names: Sequence[str] = getattr(value, "__struct_fields__", None) or list(getattr(type(value), "model_fields", ()))
    return names


async def outcome(returned: Awaitable[object], ids: Ids | None = None) -> Any:
    """Return what a call returns, or its error with all of its attributes."""
    try:
        return plain(await returned, ids=ids)
    except RouterError as error:
        return type(error).__name__, str(error), plain(vars(error))
