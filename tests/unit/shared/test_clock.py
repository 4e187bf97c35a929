"""Deadline timer: it fires once, at the time that was set last."""

from __future__ import annotations

import asyncio
import math

import pytest

from shared.clock import DeadlineTimer


@pytest.mark.parametrize(
    ("times", "rings_s"),
    [
        ((0.05,), 0.05),
        ((0.02, 0.1), 0.1),  # later than the timer that is there
        ((5.0, 0.05), 0.05),
        ((0.02, math.inf, 0.1), 0.1),
    ],
)
async def test_it_rings_at_the_time_that_was_set_last(times: tuple[float, ...], rings_s: float) -> None:
    """Neither before nor twice."""
    loop, rung = asyncio.get_running_loop(), list[float]()
    alarm, begun = DeadlineTimer(lambda: rung.append(loop.time())), loop.time()
    for after_s in times:
        alarm.set(begun + after_s)
    await asyncio.sleep(rings_s + 0.2)
    assert len(rung) == 1
    assert rung[0] - begun > rings_s - 0.005


async def test_a_stopped_one_is_silent_until_it_is_set_again() -> None:
    """Even when it is set to a later time than before."""
    rung = asyncio.Event()
    alarm = DeadlineTimer(rung.set)
    now = asyncio.get_running_loop().time
    alarm.set(now() + 0.01)
    alarm.stop()
    await asyncio.sleep(0.05)
    assert not rung.is_set()
    alarm.set(now() + 0.02)
    await asyncio.wait_for(rung.wait(), 5)
