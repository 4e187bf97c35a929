"""How a duty leaves a dependency alone that is away: it says so once, and asks less and less often."""

from __future__ import annotations

from shared.errors import DependencyError
from shared.logs import get_logger
from shared.ports import Clock

FIRST_REST_S = 1.0
LONGEST_REST_S = 5.0

_log = get_logger(__name__)


class BackOff:
    """Rests that double from one failure to the next. `what` is what waits meanwhile, for the log."""

    def __init__(self, what: str, clock: Clock) -> None:
        self._what = what
        self._clock = clock
        self._rest_s = 0.0
        self._until = -1e9

    @property
    def resting(self) -> bool:
        """Whether it is too early to try again."""
        return self._clock.monotonic() < self._until

    def failed(self, error: DependencyError) -> None:
        """Rest, twice as long as the last time."""
        if not self._rest_s:
            _log.warning(f"{self._what} waits", reason=str(error))
        self._rest_s = min(max(2 * self._rest_s, FIRST_REST_S), LONGEST_REST_S)
        self._until = self._clock.monotonic() + self._rest_s

    def worked(self) -> None:
        """Begin anew with the shortest rest."""
        if self._rest_s:
            _log.info(f"{self._what} goes on")
        self._rest_s = 0.0
