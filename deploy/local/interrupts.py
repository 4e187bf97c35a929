"""Signals as a count that loops look at, so that nothing is interrupted half-way."""

from __future__ import annotations

import signal


class StopRequests:
    """Counts SIGINT, SIGTERM and SIGHUP from when it is made."""

    def __init__(self) -> None:
        self._count = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def __call__(self) -> int:
        """Return how many have come."""
        return self._count

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._count += 1
