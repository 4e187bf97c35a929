"""The real clock."""

from __future__ import annotations

import time


class SystemClock:
    """`Clock` by the operating system."""

    now = staticmethod(time.time)
    """Unix seconds."""

    monotonic = staticmethod(time.monotonic)
    """Seconds that never step back."""
