"""When which duty is done: what is learned goes first, and the index is not forgotten for it."""

from __future__ import annotations

import asyncio
from unittest.mock import AsyncMock, Mock

import pytest

from services.learner.jobs.jobs import INDEX_AT_LATEST_S, LearnerJobs
from tests.support.fakes.clock import FakeClock


@pytest.fixture
def duties() -> LearnerJobs:
    learner = Mock(drain=AsyncMock(return_value=0), sweep=AsyncMock(return_value=0), stopping=False)
    return LearnerJobs(
        learner=learner,
        index_writer=Mock(step=AsyncMock(return_value=0)),
        posteriors=Mock(),
        queue=Mock(),
        clock=FakeClock(),
        recency_days=1.0,
    )


async def test_the_index_follows_the_sweep_and_no_wake_up(duties: LearnerJobs) -> None:
    """Wake-ups come ten times a second; a batch of points costs less than ten."""
    await duties.learn(sweep=False)
    assert duties.index_writer.step.await_count == 0  # type: ignore[attr-defined]  # a mock
    await duties.learn(sweep=True)
    assert duties.index_writer.step.await_count == 1  # type: ignore[attr-defined]  # a mock


async def test_the_index_waits_for_a_backlog_but_not_for_ever(duties: LearnerJobs) -> None:
    """While events are learned it is put off, so long and no longer."""
    going_on = asyncio.Event()
    duties.learner.drain.side_effect = going_on.wait  # type: ignore[attr-defined]  # a mock
    learning = asyncio.create_task(duties.learn(sweep=False))
    await asyncio.sleep(0)
    await duties.learn(sweep=True)
    duties.clock.advance(INDEX_AT_LATEST_S / 2)  # type: ignore[attr-defined]  # a fake
    await duties.learn(sweep=True)
    assert duties.index_writer.step.await_count == 0  # type: ignore[attr-defined]  # a mock
    duties.clock.advance(INDEX_AT_LATEST_S / 2)  # type: ignore[attr-defined]  # a fake
    await duties.learn(sweep=True)
    assert duties.index_writer.step.await_count == 1  # type: ignore[attr-defined]  # a mock
    going_on.set()
    await learning


async def test_a_wake_up_during_a_drain_makes_it_look_again(duties: LearnerJobs) -> None:
    """What came after the drain had looked is learned now; any number of wake-ups meanwhile is one more look."""
    going_on = asyncio.Event()
    duties.learner.drain.side_effect = going_on.wait  # type: ignore[attr-defined]  # a mock
    learning = asyncio.create_task(duties.learn(sweep=False))
    await asyncio.sleep(0)
    for _ in range(3):
        await duties.learn(sweep=False)
    assert duties.learner.drain.await_count == 1  # type: ignore[attr-defined]  # a mock
    going_on.set()
    await learning
    assert duties.learner.drain.await_count == 2  # type: ignore[attr-defined]  # a mock
    await duties.learn(sweep=False)
    assert duties.learner.drain.await_count == 3, "one wake-up, one look"  # type: ignore[attr-defined]  # a mock
