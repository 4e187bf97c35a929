"""Back-off of one part of the stack: how long to wait before it is started again."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
HEALTHY_S = 60.0
"""A part that was ready for this long has recovered: its next pause is the first one again."""


@dataclass
class Restarts:
    """Restarts of one part. `count`: so far; `due`: when to start it again, None while it runs. Times are monotonic."""

    count: int = 0
    due: float | None = None
    _pause_s: float = FIRST_PAUSE_S
    _ready_since: float | None = None

    def ready(self, now: float) -> None:
        """Note that the part is ready."""
        self._ready_since = now

    def ended(self, now: float) -> float:
        """Note that the part has ended; return the pause in seconds, which doubles up to LONGEST_PAUSE_S."""
        if self._ready_since is not None and now - self._ready_since >= HEALTHY_S:
            self._pause_s = FIRST_PAUSE_S
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._ready_since, self.due = None, now + pause_s
        return pause_s

    def started(self) -> None:
        """Note that the part was started again."""
        self.count, self.due = self.count + 1, None
