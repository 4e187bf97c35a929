"""Arms and dependencies that failed are left alone for a while. In memory: each gateway finds out by itself."""

from __future__ import annotations

from collections.abc import Iterable

from shared.bandit.arms import ArmId
from shared.ports import Clock

MAX_COOL_S = 60.0
"""A `Retry-After` of a year must not bury an arm."""


class CoolDowns:
    """Until when each arm rests. Holds at most one entry an arm, and arms come from the catalogue: bounded."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[ArmId, float] = {}

    def cool(self, arm: ArmId, seconds: float) -> None:
        """Leave `arm` alone for that long, at most a minute; never shortens a rest."""
        if seconds > 0:
            until = self._clock.monotonic() + min(seconds, MAX_COOL_S)
            self._until[arm] = max(until, self._until.get(arm, 0.0))

    def warm(self, arms: Iterable[ArmId]) -> tuple[ArmId, ...]:
        """Return those of `arms` that are not resting, or all of them if all rest: trying beats refusing."""
        arms = tuple(arms)
        if not self._until:
            return arms
        now = self._clock.monotonic()
        self._until = {arm: until for arm, until in self._until.items() if until > now}
        return tuple(arm for arm in arms if arm not in self._until) or arms

    def resting(self) -> dict[ArmId, float]:
        """Return the seconds left by arm, for `/health`."""
        now = self._clock.monotonic()
        return {arm: until - now for arm, until in self._until.items() if until > now}


class Breaker:
    """A dependency that failed `threshold` times in a row is skipped, then probed by one caller at a time.

    The rest doubles from `rest_s` to `max_rest_s` while probes fail: a frozen embedder costs its deadline a few times,
    not on every request.
    """

    def __init__(self, clock: Clock, *, threshold: int = 5, rest_s: float = 0.5, max_rest_s: float = 5.0) -> None:
        self._clock = clock
        self._threshold = threshold
        self._first_rest_s = rest_s
        self._rest_s = rest_s
        self._max_rest_s = max_rest_s
        self._failures = 0
        self._closed_again_at = 0.0

    @property
    def open(self) -> bool:
        """Whether calls are being skipped."""
        return self._failures >= self._threshold

    def allows(self) -> bool:
        """Return whether to try now. While open, one caller after each rest gets True: the probe."""
        if not self.open:
            return True
        now = self._clock.monotonic()
        if now < self._closed_again_at:
            return False
        self._closed_again_at = now + self._rest_s
        return True

    def succeeded(self) -> None:
        """Close."""
        self._failures = 0
        self._rest_s = self._first_rest_s

    def failed(self) -> None:
        """Count a failure; open at the threshold, and rest longer after each failed probe."""
        self._failures += 1
        if self._failures == self._threshold:
            self._closed_again_at = self._clock.monotonic() + self._rest_s
        elif self.open:
            self._rest_s = min(self._rest_s * 2, self._max_rest_s)
            self._closed_again_at = self._clock.monotonic() + self._rest_s
