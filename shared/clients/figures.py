"""Checked values of an upstream's JSON: None for a wrong type or an impossible figure."""

from __future__ import annotations

import math
import re
from typing import Any

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
