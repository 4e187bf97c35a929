"""Places with a pace: as many as keep the work within its time."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from services.gateway.limits.places import BURST, BURST_S, Places
from shared.errors import Unavailable
from shared.metrics import GatewayMetrics
from tests.support.fakes.clock import FakeClock

LEAST = 2


def paced(clock: FakeClock) -> Places:
    metrics = GatewayMetrics(CollectorRegistry())
    return Places(LEAST, "Try again.", clock=clock, metrics=metrics, pace_s=BURST_S / 4)


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
    """Forty in a second are ten in a quarter of it; a slow start has the least."""
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
    clock.advance(2 * BURST_S)
    assert await free_at_once(one) == LEAST


def refuses(places: Places) -> bool:
    """Return whether one more request would be refused."""
    try:
        places.check()
    except Unavailable:
        return True
    return False


async def test_a_burst_waits_and_a_queue_that_stays_is_short() -> None:
    """Many clients start at the same time; after BURST_S only so many wait as half of what came free in it."""
    clock = FakeClock()
    one = paced(clock)
    for _ in range(LEAST):
        await one.take()
    waiting = [asyncio.ensure_future(one.take()) for _ in range(BURST)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as caught:
        await one.take()
    assert (caught.value.code, caught.value.retry_after_s) == ("overloaded", 1.0)
    assert refuses(one)
    for each in waiting[3:]:
        each.cancel()
    await asyncio.gather(*waiting[3:], return_exceptions=True)
    assert not refuses(one)
    clock.advance(BURST_S)
    assert refuses(one)
    for _ in range(LEAST):
        one.free()
    await asyncio.gather(*waiting[:2])
    for _ in range(LEAST):
        one.free()
    await waiting[2]
    assert one.taken == 1
