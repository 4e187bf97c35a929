"""Parser of `Retry-After` in all its forms, and of OpenRouter's `X-RateLimit-Reset`."""

from __future__ import annotations

import email.utils
import math
import time
from collections.abc import Mapping
from typing import Any

_EARLIEST_S = 1_000_000_000.0
"""A smaller number is not a Unix time."""


def wait_s(headers: Mapping[str, str], metadata: Mapping[str, Any]) -> float | None:
    """Return the seconds, or None where nothing is said; `metadata.headers` of an error count like headers."""
    told = metadata.get("headers")
    inner = {str(name).lower(): str(value) for name, value in told.items()} if isinstance(told, dict) else {}
    for source in (headers, inner):
        for read in (_milliseconds, _retry_after, _reset):
            seconds = read(source)
            if seconds is not None:
                return max(seconds, 0.0)
    return None


def _milliseconds(headers: Mapping[str, str]) -> float | None:
    value = _number(headers.get("retry-after-ms"))
    return None if value is None else value / 1000


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = (headers.get("retry-after") or "").strip()
    value = _number(text)
    if value is not None or not text:
        return value
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None


def _reset(headers: Mapping[str, str]) -> float | None:
    """Return the time to `X-RateLimit-Reset`, which OpenRouter gives in Unix milliseconds and others in seconds."""
    value = _number(headers.get("x-ratelimit-reset"))
    if value is None:
        return None
    if value >= _EARLIEST_S * 1000:
        value /= 1000
    left_s = value - time.time() if value >= _EARLIEST_S else value  # a small number counts from now
    return left_s if left_s > 0 else None


def _number(text: str | None) -> float | None:
    try:
        value = float((text or "").strip())
    except ValueError:
        return None
    return value if math.isfinite(value) else None
