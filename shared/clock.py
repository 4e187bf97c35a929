"""Clocks and timers: the system clock, the UTC day of a time, the age of connections, and a deadline that moves."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
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


def idle_clock() -> float:
    """Return seconds by a clock that goes on while the machine is suspended, where there is one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


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
