"""The real clock."""

from __future__ import annotations

import time


class SystemClock:
    """`Clock` by the operating system."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never step back."""
        return time.monotonic()
