"""Circuit breaker with exponential back-off: skips what keeps failing, then probes it with one call at a time."""

from __future__ import annotations

from collections import deque

from msgspec import Struct

from shared.ports import Clock


class Window(Struct, frozen=True):
    """A second rule to open by: half of the last `calls` failed, all within `seconds`."""

    calls: int = 20
    seconds: float = 10.0


class CircuitBreaker:
    """Opens after `threshold` failures in a row, or by its window; probes with one call after each cooldown.

    Failures in a row that all come within `hiccup_s` do not open it: a pause of 60 ms fails thirty calls in flight, and
    opening would then cost half a second of calls.

    The cooldown doubles from `first_cooldown_s` to `max_cooldown_s` while probes fail, so a frozen dependency costs
    its deadline a few times instead of once per request. If a probe has no outcome (its caller was cancelled), another
    follows one cooldown later.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        threshold: int = 5,
        first_cooldown_s: float = 0.5,
        max_cooldown_s: float = 5.0,
        window: Window | None = None,
        hiccup_s: float = 0.0,
    ) -> None:
        self._clock = clock
        self._threshold = threshold
        self._first_cooldown_s = first_cooldown_s
        self._cooldown_s = first_cooldown_s
        self._max_cooldown_s = max_cooldown_s
        self._window = window
        self._recent: deque[tuple[float, bool]] = deque(maxlen=window.calls if window else 0)
        self._hiccup_s = hiccup_s
        self._failures = 0
        self._failing_since = 0.0
        self._until = 0.0
        self._probing = False
        self.open = False
        """Whether calls are being skipped."""
        self.reported = False
        """Whether it was opened by another process's report (`trip`), not by failures of our own calls."""

    @property
    def cooldown_s(self) -> float:
        """Seconds until the next call is allowed; 0 if one is allowed now."""
        return max(self._until - self._clock.monotonic(), 0.0) if self.open else 0.0

    @property
    def state(self) -> str:
        """`closed`, `open`, or `half_open`: the next call is the probe."""
        return "closed" if not self.open else "open" if self.cooldown_s else "half_open"

    def allows(self) -> bool:
        """Return whether a call may be made now. While open, True is returned once per cooldown: for the probe."""
        if not self.open:
            return True
        if self.cooldown_s:
            return False
        self._until = self._clock.monotonic() + self._cooldown_s
        self._probing = True
        return True

    def succeeded(self) -> None:
        """Count a success: close, and start again with the shortest cooldown."""
        if self.open:
            self._recent.clear()
        self._note(failed=False)
        self._failures = 0
        self._cooldown_s = self._first_cooldown_s
        self.open = self._probing = self.reported = False

    def trip(self, cooldown_s: float) -> None:
        """Open on the report of another process; the first call after `cooldown_s` is our probe. Only while closed."""
        if not self.open:
            self.open = self.reported = True
            self._until = self._clock.monotonic() + min(cooldown_s, self._max_cooldown_s)

    def failed(self) -> None:
        """Count a failure: open by the rules above, and double the cooldown after a failed probe."""
        self._note(failed=True)
        if not self._failures:
            self._failing_since = self._clock.monotonic()
        self._failures += 1
        if self._probing:
            self._cooldown_s = min(self._cooldown_s * 2, self._max_cooldown_s)
        elif self.open or not (self._failed_in_a_row() or self._half_failed()):
            return  # calls that were in flight when it opened add no information
        self.open, self._probing, self.reported = True, False, False
        self._until = self._clock.monotonic() + self._cooldown_s

    def _note(self, *, failed: bool) -> None:
        if self._window is not None:
            self._recent.append((self._clock.monotonic(), failed))

    def _failed_in_a_row(self) -> bool:
        lasted_s = self._clock.monotonic() - self._failing_since
        return self._failures >= self._threshold and lasted_s >= self._hiccup_s

    def _half_failed(self) -> bool:
        if self._window is None or len(self._recent) < self._window.calls:
            return False
        lately = self._recent[0][0] >= self._clock.monotonic() - self._window.seconds
        return lately and sum(failed for _, failed in self._recent) * 2 >= self._window.calls
