"""A time that is set again and again, and seldom reached."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

CLOCK_S = 0.001
"""How exact timers are."""


class DeadlineTimer:
    """Rings at the time that was set last. A timer that ends before stays: moving it each time would cost more."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._due = self._ends = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def set(self, due: float) -> None:
        """Ring at `due`, an instant of the loop's clock; infinite: not before it is set again."""
        if self._ends > due:
            self.stop()
            self._ends = due
            self._timer = self._loop.call_at(due, self._look)
        self._due = due

    def stop(self) -> None:
        """Ring no more before it is set again, and let nothing of it wait."""
        if self._timer is not None:
            self._timer.cancel()
        self._due, self._ends, self._timer = math.inf, math.inf, None

    def _look(self) -> None:
        due, self._timer, self._ends = self._due, None, math.inf
        if due < self._loop.time() + CLOCK_S:
            self._due = math.inf
            self._ring()
        else:
            self.set(due)
