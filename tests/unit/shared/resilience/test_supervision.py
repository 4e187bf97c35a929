"""Background loops: one that ends is started again and shown; one that cannot be kept ends the process."""

from __future__ import annotations

import asyncio

import pytest

from shared.resilience import supervision
from shared.resilience.supervision import Pulse
from tests.support.fakes.supervision import new_supervisor


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rests of milliseconds."""
    monkeypatch.setattr(supervision, "FIRST_REST_S", 0.001)
    monkeypatch.setattr(supervision, "LONGEST_REST_S", 0.004)


@pytest.mark.parametrize("way", ["returns", "raises", "is cancelled from below"])
async def test_a_loop_that_ends_is_started_again_and_counted(way: str) -> None:
    """Whatever it ends by; the count and the error are shown, and the loop is degraded for a while."""
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
        await asyncio.wait_for(again.wait(), 5)
    error = {"returns": "ended", "raises": "ZeroDivisionError"}.get(way, "CancelledError")
    assert (supervisor.pulses["test"].restarts, supervisor.pulses["test"].error) == (2, error)
    assert supervisor._restarts.labels("test")._value.get() == 2
    assert supervisor.trouble() == [f"test was restarted, 2 times in all ({error})"]
    assert supervisor.broken is None


async def test_a_loop_that_cannot_be_kept_ends_the_process() -> None:
    """Ten failures in a row, and the process is told to end, once."""
    runs = ended = 0
    supervisor = new_supervisor()

    async def loop(_: Pulse) -> None:
        nonlocal runs
        runs += 1
        raise ZeroDivisionError

    def end() -> None:
        nonlocal ended
        ended += 1

    supervisor.on_broken = end
    async with supervisor.running({"test": loop}):
        for _ in range(1000):
            await asyncio.sleep(0.001)
            if ended:
                break
        await asyncio.sleep(0.02)
    assert (runs, ended, supervisor.broken) == (10, 1, "test (ZeroDivisionError)")


async def test_a_loop_that_was_healthy_for_long_has_all_its_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures count in a row: what ran for a while in between was restarted with success."""
    monkeypatch.setattr(supervision, "STABLE_S", 0.005)
    runs = 0
    enough = asyncio.Event()

    async def loop(_: Pulse) -> None:
        nonlocal runs
        runs += 1
        if runs == 25:
            enough.set()
        if runs % 5 == 0:
            await asyncio.sleep(0.01)
        raise ZeroDivisionError

    supervisor = new_supervisor()
    async with supervisor.running({"test": loop}):
        await asyncio.wait_for(enough.wait(), 5)
    assert supervisor.broken is None


async def test_a_hung_step_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that takes longer than any of its deadlines is shown, with its age; one that ended is not."""
    monkeypatch.setattr(supervision, "HUNG_S", 0.02)
    supervisor = new_supervisor()
    goes_on = asyncio.Event()

    async def loop(pulse: Pulse) -> None:
        pulse.begin()
        await goes_on.wait()
        pulse.end()
        await asyncio.sleep(60)

    async with supervisor.running({"test": loop}):
        await asyncio.sleep(0.05)
        assert supervisor.trouble() == ["test hangs for 0 s"]
        goes_on.set()
        await asyncio.sleep(0.01)
        assert supervisor.trouble() == []
        assert supervisor.pulses["test"].view()["last_step_s_ago"] == 0.0


async def test_stopping_ends_loops_that_fail_at_once() -> None:
    """A loop that is being restarted does not hold up the end."""

    async def loop(_: Pulse) -> None:
        raise ZeroDivisionError

    async with asyncio.timeout(5), new_supervisor().running({"test": loop}):
        await asyncio.sleep(0)


async def test_a_task_is_tried_again_a_few_times() -> None:
    """What is done once, such as giving a claim back, survives a failure; a lasting one ends it, counted."""
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


def test_failures_that_are_far_apart_do_not_end_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that fails once a day is restarted each time."""
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    supervisor = new_supervisor()
    for _ in range(supervision.MOST_FAILURES + 5):
        now += 2 * supervision.WINDOW_S / supervision.MOST_FAILURES
        supervisor.failed("test", ZeroDivisionError())
    assert supervisor.broken is None
    for _ in range(supervision.MOST_FAILURES):
        supervisor.failed("test", ZeroDivisionError())
    assert supervisor.broken is not None
