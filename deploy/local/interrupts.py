"""Counter of stop signals, which loops poll, so that no step is interrupted half-way."""

from __future__ import annotations

import signal
import time

SAME_REQUEST_S = 1.0
"""Signals within this time are one request. A SIGTERM to the process group arrives twice, because make sends one as
well; counted as a second request, it would kill all parts before open requests are finished."""


class StopRequests:
    """Counter of requests to stop (SIGINT, SIGTERM, SIGHUP), from its construction on."""

    def __init__(self) -> None:
        self._count = 0
        self._last = -SAME_REQUEST_S
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def __call__(self) -> int:
        """Return the number of requests."""
        return self._count

    def _on_signal(self, _number: int, _frame: object) -> None:
        now = time.monotonic()
        if now - self._last >= SAME_REQUEST_S:
            self._count += 1
            self._last = now
