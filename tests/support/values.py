"""`replace` for any of the project's values: a copy with other fields."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, cast

from msgspec import Struct, structs

Value = TypeVar("Value")


def replace(value: Value, **changes: Any) -> Value:
    """Return a copy of a dataclass or a Struct with these fields changed."""
    if isinstance(value, Struct):
        return cast("Value", structs.replace(value, **changes))
    return cast("Value", dataclasses.replace(cast("Any", value), **changes))
