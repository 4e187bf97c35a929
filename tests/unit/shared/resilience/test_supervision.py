"""Background loops: one that ends is restarted and reported; one that keeps failing ends the process."""

from __future__ import annotations

import asyncio

import pytest

from shared.resilience import supervision
from shared.resilience.supervision import Pulse
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.supervision import new_supervisor

LONG_S = 60.0
"""Ends a test that hangs; a busy machine needs seconds."""


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The time that loops are judged by, which only the test advances; pauses before restarts take milliseconds."""
    monkeypatch.setattr(supervision, "FIRST_REST_S", 0.001)
    monkeypatch.setattr(supervision, "LONGEST_REST_S", 0.004)
    clock = FakeClock()
    monkeypatch.setattr(supervision, "time", clock)
    return clock


@pytest.mark.parametrize("way", ["returns", "raises", "is cancelled from below"])
async def test_a_loop_that_ends_is_started_again_and_counted(way: str) -> None:
    """However it ends; count and error are reported, and the loop counts as degraded for a while."""
    runs = 0
    again = asyncio.Event()

    async def loop(_: Pulse) -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            again.set()
            await asyncio.sleep(60)
        if way == "raises":
            raise ZeroDivisionError
        if way == "is cancelled from below":
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

    supervisor = new_supervisor()
    async with supervisor.running({"test": loop}):
        await asyncio.wait_for(again.wait(), LONG_S)
    error = {"returns": "ended", "raises": "ZeroDivisionError"}.get(way, "CancelledError")
    assert (supervisor.pulses["test"].restarts, supervisor.pulses["test"].error) == (2, error)
    assert supervisor._restarts.labels("test")._value.get() == 2
    assert supervisor.trouble() == [f"test was restarted, 2 times in all ({error})"]
    assert supervisor.broken is None


async def test_a_loop_that_cannot_be_kept_ends_the_process() -> None:
    """After ten failures in a row the process is asked to end, once."""
    runs = ended = 0
    broken = asyncio.Event()
    supervisor = new_supervisor()

    async def loop(_: Pulse) -> None:
        nonlocal runs
        runs += 1
        raise ZeroDivisionError

    def end() -> None:
        nonlocal ended
        ended += 1
        broken.set()

    supervisor.on_broken = end
    async with supervisor.running({"test": loop}):
        await asyncio.wait_for(broken.wait(), LONG_S)
        await asyncio.sleep(3 * supervision.LONGEST_REST_S)  # nothing starts it again
    assert (runs, ended, supervisor.broken) == (10, 1, "test (ZeroDivisionError)")


async def test_a_long_healthy_run_resets_the_count_of_failures(clock: FakeClock) -> None:
    """Only failures in a row count: after a long run the restart has succeeded."""
    runs = 0
    enough = asyncio.Event()

    async def loop(_: Pulse) -> None:
        nonlocal runs
        runs += 1
        if runs == 25:
            enough.set()
        if runs % 5 == 0:
            clock.advance(supervision.STABLE_S + 0.1)
        raise ZeroDivisionError

    supervisor = new_supervisor()
    async with supervisor.running({"test": loop}):
        await asyncio.wait_for(enough.wait(), LONG_S)
    assert supervisor.broken is None


async def test_a_hung_step_is_reported(clock: FakeClock) -> None:
    """A step that takes longer than any of its deadlines is reported, with its age; one that has ended is not."""
    supervisor = new_supervisor()
    begun, goes_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def loop(pulse: Pulse) -> None:
        pulse.begin()
        begun.set()
        await goes_on.wait()
        pulse.end()
        ended.set()
        await asyncio.sleep(60)

    async with supervisor.running({"test": loop}):
        await asyncio.wait_for(begun.wait(), LONG_S)
        clock.advance(supervision.HUNG_S)
        assert supervisor.trouble() == []
        clock.advance(1.0)
        assert supervisor.trouble() == ["test hangs for 61 s"]
        goes_on.set()
        await asyncio.wait_for(ended.wait(), LONG_S)
        assert supervisor.trouble() == []
        clock.advance(2.0)
        assert supervisor.pulses["test"].view()["last_step_s_ago"] == 2.0


async def test_stopping_ends_loops_that_fail_immediately() -> None:
    """A loop that is being restarted does not delay the end."""

    async def loop(_: Pulse) -> None:
        raise ZeroDivisionError

    async with asyncio.timeout(LONG_S), new_supervisor().running({"test": loop}):
        await asyncio.sleep(0)


async def test_a_task_is_retried_a_few_times() -> None:
    """A finite task, such as the release of a reservation, survives failures; one that always fails ends, counted."""
    tries: list[int] = []

    async def fails_twice() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise ZeroDivisionError

    async def fails() -> None:
        raise ZeroDivisionError

    supervisor = new_supervisor()
    await supervisor.spawn("once", fails_twice)
    await supervisor.spawn("never", fails)
    assert len(tries) == 3
    assert (supervisor.pulses["once"].restarts, supervisor.pulses["never"].restarts) == (2, supervision.TRIES)
    assert supervisor.broken is None


def test_failures_that_are_far_apart_do_not_end_the_process(clock: FakeClock) -> None:
    """A loop that fails once a day is restarted each time."""
    supervisor = new_supervisor()
    for _ in range(supervision.MOST_FAILURES + 5):
        clock.advance(2 * supervision.WINDOW_S / supervision.MOST_FAILURES)
        supervisor.failed("test", ZeroDivisionError())
    assert supervisor.broken is None
    for _ in range(supervision.MOST_FAILURES):
        supervisor.failed("test", ZeroDivisionError())
    assert supervisor.broken is not None
