"""Deadline timer: for deadlines that move often and are seldom reached."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

CLOCK_S = 0.001
"""Resolution of the event loop's timers."""


class DeadlineTimer:
    """Calls `expired` at the time that was set last.

    A timer of the loop that ends before stays as it is, because moving it each time would cost more.
    """

    def __init__(self, expired: Callable[[], None]) -> None:
        self._expired = expired
        self._loop = asyncio.get_running_loop()
        self._due = self._ends = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def set(self, due: float) -> None:
        """Expire at `due`, an instant of the loop's clock; infinite: never."""
        if self._ends > due:
            self.stop()
            self._ends = due
            self._timer = self._loop.call_at(due, self._on_timer)
        self._due = due

    def stop(self) -> None:
        """Cancel it."""
        if self._timer is not None:
            self._timer.cancel()
        self._due, self._ends, self._timer = math.inf, math.inf, None

    def _on_timer(self) -> None:
        due, self._timer, self._ends = self._due, None, math.inf
        if due < self._loop.time() + CLOCK_S:
            self._due = math.inf
            self._expired()
        else:
            self.set(due)
