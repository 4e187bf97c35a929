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


def test_rests_double_up_to_half_a_minute_and_begin_anew() -> None:
    """An hour's absence costs two calls a minute; after it, a short one costs a second."""
    clock = FakeClock()
    away = BackOff("history", clock)
    assert not away.resting
    assert rests(away, clock, 8) == [1, 2, 4, 8, 16, 30, 30, 30]
    away.worked()
    assert not away.resting
    assert rests(away, clock, 2) == [1, 2]
