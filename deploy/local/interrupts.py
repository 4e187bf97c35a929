"""Signals as a count that loops look at, so that nothing is interrupted half-way."""

from __future__ import annotations

import signal
import time

SAME_REQUEST_S = 1.0
"""Signals this close together are one request. A SIGTERM to the process group comes twice: make sends its own to what
it started. Taken for a second request, it would kill all parts before open answers are finished."""


class StopRequests:
    """Counts requests to stop (SIGINT, SIGTERM, SIGHUP) from when it is made."""

    def __init__(self) -> None:
        self._count = 0
        self._last = -SAME_REQUEST_S
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def __call__(self) -> int:
        """Return how many have come."""
        return self._count

    def _on_signal(self, _number: int, _frame: object) -> None:
        now = time.monotonic()
        if now - self._last >= SAME_REQUEST_S:
            self._count += 1
            self._last = now
