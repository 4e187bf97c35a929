"""The system clock, and the UTC day of a time."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """`Clock` by the operating system."""

    now = staticmethod(time.time)
    """Unix seconds."""

    monotonic = staticmethod(time.monotonic)
    """Seconds that never step back."""


def utc_day(unix_s: float) -> str:
    """Return the UTC day of a Unix second, as in `2026-11-23`."""
    return datetime.fromtimestamp(unix_s, UTC).date().isoformat()
