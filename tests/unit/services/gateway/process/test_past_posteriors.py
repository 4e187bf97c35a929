"""When the posteriors of the present are stored."""

from __future__ import annotations

import pytest

from services.gateway.models.posterior_cache import PosteriorCache
from services.gateway.process.past_posteriors import PastPosteriors
from shared.posterior_history import PastPosterior, Posteriors
from tests.support.fakes.gateway import World
from tests.support.fakes.memory import Memory
from tests.support.fakes.posterior_history import FakePosteriorHistory


class CountingHistory(FakePosteriorHistory):
    """Counts what is stored."""

    noted = 0

    async def note(self, minute: int, posteriors: Posteriors) -> None:
        self.noted += 1
        await super().note(minute, posteriors)


async def test_they_are_stored_when_they_change_and_once_a_minute(world: World) -> None:
    """Not by each look: gateways must not write for ever what is known."""
    history = CountingHistory(Memory(clock=world.clock))
    async with world.gateway() as gateway:
        past = PastPosteriors(history, gateway.posteriors, world.clock)
        for _ in range(3):
            await past.record()
        assert history.noted == 1
        world.clock.advance(60)
        await past.record()
        assert history.noted == 2
        gateway.posteriors.snapshot = None
        await gateway.posteriors.refresh()
        await past.record()
        assert history.noted == 3


async def test_what_was_not_read_lately_is_not_stored(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stale snapshot is not what is believed now."""
    history = CountingHistory(Memory(clock=world.clock))
    async with world.gateway() as gateway:
        monkeypatch.setattr(PosteriorCache, "stale", True)
        await PastPosteriors(history, gateway.posteriors, world.clock).record()
    assert history.noted == 0


async def test_a_step_shows_the_last_posteriors_in_it(world: World) -> None:
    """By the minute and by the hour; a step without any is empty."""
    history = FakePosteriorHistory(Memory(clock=world.clock))
    minute = int(world.clock.now() // 60)
    hour = 60 * (minute // 60)  # the first minute of this hour
    for at, quality in ((hour - 120, 0.1), (hour - 119, 0.2), (hour, 0.3)):
        await history.note(at, {"a/small": PastPosterior(quality, 0.0, 1.0, 5.0)})
    async with world.gateway() as gateway:
        past = PastPosteriors(history, gateway.posteriors, world.clock)
        for step_min in (20, 60, 120):
            shown = await past.over_time(240, step_min)
            found = [(at["at"], at["arms"]["a/small"]["quality"]) for at in shown["data"] if at["arms"]]
            assert [quality for _, quality in found] == [0.2, 0.3]
            assert [
                start <= 60 * minute < start + shown["step_s"]
                for (start, _), minute in zip(found, (hour - 119, hour), strict=True)
            ] == [True, True]
