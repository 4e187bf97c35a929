"""Places with a pace: as many as keep the work within its time."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from services.gateway.limits.places import QUEUE_S, Places
from shared.errors import Unavailable
from shared.metrics import GatewayMetrics
from tests.support.fakes.clock import FakeClock

LEAST = 2


def paced(clock: FakeClock) -> Places:
    metrics = GatewayMetrics(CollectorRegistry())
    return Places(LEAST, "Try again.", clock=clock, metrics=metrics, pace_s=QUEUE_S / 4)


async def free_at_once(places: Places) -> int:
    """Return how many places can be taken without waiting."""
    for number in range(1000):
        taking = asyncio.ensure_future(places.take())
        await asyncio.sleep(0)
        if not taking.done():
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
            for _ in range(number):
                places.free()
            return number
    raise AssertionError("there is no limit")


@pytest.mark.parametrize(("done", "places"), [(0, LEAST), (4, LEAST), (40, 10), (400, 100)])
async def test_there_are_as_many_places_as_come_free_in_the_time_of_the_work(done: int, places: int) -> None:
    """Forty in a tenth of a second are ten in a quarter of it; a slow start has the least."""
    clock = FakeClock()
    one = paced(clock)
    for _ in range(done):
        await one.take()
        one.free()
    assert await free_at_once(one) == places


async def test_a_pause_takes_the_places_back() -> None:
    """What was done a moment ago says nothing of how fast work is now."""
    clock = FakeClock()
    one = paced(clock)
    for _ in range(400):
        await one.take()
        one.free()
    clock.advance(2 * QUEUE_S)
    assert await free_at_once(one) == LEAST


async def test_a_request_that_would_be_refused_is_refused_before_it_is_read() -> None:
    """`check` refuses what `take` would: the queue is full, with as many as there are places."""
    one = paced(FakeClock())
    for _ in range(LEAST):
        await one.take()
    waiting = []
    for _ in range(LEAST):
        one.check()
        waiting.append(asyncio.ensure_future(one.take()))
        await asyncio.sleep(0)
    for refused in (one.check, one.take):
        with pytest.raises(Unavailable) as caught:
            await refused() if refused == one.take else refused()
        assert (caught.value.code, caught.value.retry_after_s) == ("overloaded", 1.0)
    for _ in range(LEAST):
        one.free()
    await asyncio.gather(*waiting)
    assert one.taken == LEAST
