"""Who is away is asked less and less often, and said to be away once."""

from __future__ import annotations

from services.learner.back_off import BackOff
from shared.errors import DependencyError
from tests.fakes.clock import FakeClock


def rests(away: BackOff, clock: FakeClock, times: int) -> list[float]:
    """Fail so often; return how long each rest is, to half a second."""
    found = []
    for _ in range(times):
        away.failed(DependencyError("postgres", "away"))
        began = clock.monotonic()
        while away.resting:
            clock.advance(0.5)
        found.append(clock.monotonic() - began)
    return found


def test_rests_double_up_to_five_seconds_and_begin_anew() -> None:
    """What comes back is used again within five seconds, however long it was away; a short absence costs a second."""
    clock = FakeClock()
    away = BackOff("history", clock)
    assert not away.resting
    assert rests(away, clock, 8) == [1, 2, 4, 5, 5, 5, 5, 5]
    away.worked()
    assert not away.resting
    assert rests(away, clock, 2) == [1, 2]
