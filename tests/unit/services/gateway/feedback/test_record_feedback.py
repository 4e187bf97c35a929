"""Ratings: which of them wake the learner, and when a rater at its limit may come again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.gateway.app import Gateway
from shared.errors import RateLimited
from shared.schemas.feedback import FeedbackRequest
from shared.schemas.storage import RatingTerms
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.gateway import World, chat, new_request, settings_for
from tests.support.fakes.use_cases import complete, route


async def rate(gateway: Gateway, score: float, per_minute: int = 0) -> None:
    await gateway.feedback.record(
        FeedbackRequest("asked", score, None), owner="public", terms=RatingTerms(per_minute=per_minute)
    )


async def test_a_new_rating_wakes_the_learner_and_a_repeated_one_does_not(world: World) -> None:
    """A repeated rating changes nothing, so that there is nothing to learn."""
    async with world.gateway() as gateway:
        await complete(await route(chat(), new_request("asked"), gateway), gateway)
        woken = []
        for score in (0.5, 0.5, 0.9):
            await asyncio.sleep(0.15)  # wake-ups within 100 ms are one
            before = world.memory.wakes
            await rate(gateway, score)
            await asyncio.sleep(0.15)
            woken.append(world.memory.wakes - before)
    assert woken == [1, 0, 1]


async def test_a_rater_at_its_limit_may_come_again_in_the_next_minute(tmp_path: Path) -> None:
    """Ratings are counted by the minute of the clock, and `Retry-After` says when that ends."""
    world = World(settings_for(tmp_path / "spool"), clock=FakeClock(1_795_000_000.0 // 60 * 60 + 50))
    async with world.gateway() as gateway:
        await complete(await route(chat(), new_request("asked"), gateway), gateway)
        await rate(gateway, 0.1, per_minute=1)
        with pytest.raises(RateLimited) as refused:
            await rate(gateway, 0.2, per_minute=1)
        assert refused.value.retry_after_s == pytest.approx(10)
        world.clock.advance(10)
        await rate(gateway, 0.2, per_minute=1)
