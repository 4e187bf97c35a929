"""Contract of `PosteriorHistory`, on the fake and on Redis."""

from __future__ import annotations

import pytest

from shared.posterior_history import PastPosterior
from shared.storage import redis_keys
from shared.storage.redis_posterior_history import RedisPosteriorHistory
from tests.support.redis_rig import Rig

ONE, OTHER = PastPosterior(0.5, 0.25, 0.75, 12.5), PastPosterior(0.8, 0.7, 0.9, 120.25)
HOUR = 500_000
FIRST = HOUR * 60


async def test_the_last_posteriors_of_a_minute_and_of_an_hour_stay(rig: Rig) -> None:
    """A model that is gone by then is not among them; a time without any is empty."""
    history = rig.posterior_history
    await history.note(FIRST, {"a/one": ONE, "b/gone": ONE})
    await history.note(FIRST, {"a/one": OTHER})
    await history.note(FIRST + 2, {"a/one": ONE, "c|new": OTHER})
    assert await history.minutes(FIRST, 4) == [{"a/one": OTHER}, {}, {"a/one": ONE, "c|new": OTHER}, {}]
    assert await history.hours(HOUR - 1, 3) == [{}, {"a/one": ONE, "c|new": OTHER}, {}]


async def test_nothing_known_replaces_nothing(rig: Rig) -> None:
    """A gateway without models yet does not remove what others have stored."""
    await rig.posterior_history.note(FIRST, {"a/one": ONE})
    await rig.posterior_history.note(FIRST, {})
    assert await rig.posterior_history.minutes(FIRST, 1) == [{"a/one": ONE}]


async def test_they_expire_and_can_be_off(rig: Rig) -> None:
    """Minutes after a day, hours after the setting's time; with 0 days there are none."""
    if rig.raw is None:
        pytest.skip("in the fake nothing expires")
    keys = redis_keys.posteriors_minute(FIRST), redis_keys.posteriors_hour(HOUR)
    for days, lifetimes in ((3, [90_000, 3 * 86_400]), (0, [-2, -2])):
        await rig.raw.flushall()
        await RedisPosteriorHistory(rig.raw, days=days).note(FIRST, {"a/one": ONE})
        assert [await rig.raw.ttl(key) for key in keys] == [pytest.approx(each, abs=5) for each in lifetimes]


async def test_damaged_posteriors_are_left_out(rig: Rig) -> None:
    """A whole hash, or one model of it."""
    if rig.raw is None:
        pytest.skip("nothing of the fake is damaged")
    await rig.posterior_history.note(FIRST, {"a/one": ONE, "b/two": OTHER})
    await rig.raw.hset(redis_keys.posteriors_minute(FIRST), "a/one", "[0.5]")
    await rig.raw.set(redis_keys.posteriors_minute(FIRST + 1), "damaged")
    assert await rig.posterior_history.minutes(FIRST, 2) == [{"b/two": OTHER}, {}]
