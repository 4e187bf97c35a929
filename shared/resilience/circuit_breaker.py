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
    """Opens after `threshold` failures in a row, or by its window; probes with one call after each rest.

    Failures in a row that all come within `hiccup_s` do not open it: a pause of 60 ms fails thirty calls in flight, and
    opening would then cost half a second of calls.

    The rest doubles from `rest_s` to `max_rest_s` while probes fail, so a frozen dependency costs its deadline a few
    times instead of once per request. If a probe has no outcome (its caller was cancelled), another follows one rest
    later.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        threshold: int = 5,
        rest_s: float = 0.5,
        max_rest_s: float = 5.0,
        window: Window | None = None,
        hiccup_s: float = 0.0,
    ) -> None:
        self._clock = clock
        self._threshold = threshold
        self._first_rest_s = rest_s
        self._rest_s = rest_s
        self._max_rest_s = max_rest_s
        self._window = window
        self._recent: deque[tuple[float, bool]] = deque(maxlen=window.calls if window else 0)
        self._hiccup_s = hiccup_s
        self._failures = 0
        self._failing_since = 0.0
        self._until = 0.0
        self._probing = False
        self.open = False
        """Whether calls are being skipped."""
        self.told = False
        """Whether it was opened by another process's report (`trip`), not by failures of our own calls."""

    @property
    def rests_s(self) -> float:
        """Seconds until the next call is allowed; 0 if one is allowed now."""
        return max(self._until - self._clock.monotonic(), 0.0) if self.open else 0.0

    @property
    def state(self) -> str:
        """`closed`, `open`, or `half_open`: the next call is the probe."""
        return "closed" if not self.open else "open" if self.rests_s else "half_open"

    def allows(self) -> bool:
        """Return whether a call may be made now. While open, True is returned once after each rest: for the probe."""
        if not self.open:
            return True
        if self.rests_s:
            return False
        self._until = self._clock.monotonic() + self._rest_s
        self._probing = True
        return True

    def succeeded(self) -> None:
        """Count a success: close, and start again with the shortest rest."""
        if self.open:
            self._recent.clear()
        self._note(failed=False)
        self._failures = 0
        self._rest_s = self._first_rest_s
        self.open = self._probing = self.told = False

    def trip(self, rest_s: float) -> None:
        """Open on the report of another process; the first call after `rest_s` is our probe. No effect while open."""
        if not self.open:
            self.open = self.told = True
            self._until = self._clock.monotonic() + min(rest_s, self._max_rest_s)

    def failed(self) -> None:
        """Count a failure: open by the rules above, and double the rest after a failed probe."""
        self._note(failed=True)
        if not self._failures:
            self._failing_since = self._clock.monotonic()
        self._failures += 1
        if self._probing:
            self._rest_s = min(self._rest_s * 2, self._max_rest_s)
        elif self.open or not (self._failed_in_a_row() or self._half_failed()):
            return  # calls that were in flight when it opened add no information
        self.open, self._probing, self.told = True, False, False
        self._until = self._clock.monotonic() + self._rest_s

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
