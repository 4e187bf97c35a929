"""Repeated steps of background loops."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from services.gateway.process.background_loops import every
from shared.errors import DependencyError
from shared.resilience.supervision import Pulse, running


async def test_a_loop_that_swallows_a_cancellation_still_ends() -> None:
    """Python 3.11's wait_for loses a cancellation now and then; shutting down must not hang on that."""
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(60.0)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 3:
                    raise

    async with asyncio.timeout(5.0):
        async with running([stubborn()]):
            await asyncio.sleep(0)
    assert swallowed == 3


async def test_a_failing_step_is_tried_again_and_the_others_go_on() -> None:
    """Whatever a step raises, expected or not, its loop lives."""
    tries = 0
    recovered = asyncio.Event()

    async def step() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise DependencyError("redis", "away")
        if tries == 2:
            raise ZeroDivisionError
        recovered.set()

    async with running([every(0.001, step, Pulse("test"))]):
        await asyncio.wait_for(recovered.wait(), 5.0)
    assert tries >= 3


async def test_a_recovery_is_reported_once() -> None:
    """Not after every step that follows."""
    steps, enough = 0, asyncio.Event()

    async def step() -> None:
        nonlocal steps
        steps += 1
        if steps == 1:
            raise DependencyError("redis", "away")
        if steps == 5:
            enough.set()

    with capture_logs() as logged:
        async with running([every(0.001, step, Pulse("test"))]):
            await asyncio.wait_for(enough.wait(), 5.0)
    assert [line["event"] for line in logged] == ["background step failed", "recovered"]
