"""`Coalescer` under overload: few calls in flight, and requests that would be late fail early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from shared.errors import DependencyError
from shared.resilience import coalescer
from shared.resilience.coalescer import CALLS, PATIENCE, WAIT_S, Coalescer
from tests.support.fakes.clock import FakeClock

WITHIN_S = 1.0
MOST = 3


class Answering:
    """Records each call, and answers it when the test says so. Time is the test's own: a busy machine is not slow."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.calls: list[list[int]] = []
        self.within_s: list[float] = []
        self.open: list[asyncio.Event] = []
        self.asked = asyncio.Event()
        self.quick, self.failing = True, False

    async def __call__(self, questions: Sequence[int], within_s: float) -> Sequence[str]:
        self.calls.append(list(questions))
        self.within_s.append(within_s)
        self.open.append(go_on := asyncio.Event())
        self.asked.set()
        if not self.quick:
            await go_on.wait()
        self.clock.advance(0.0001)
        if self.failing:
            raise DependencyError("somebody", "away")
        return [str(question) for question in questions]


@pytest.fixture
async def answering(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Answering]:
    clock = FakeClock()
    monkeypatch.setattr(coalescer, "time", clock)
    answering = Answering(clock)
    yield answering
    for call in answering.open:
        call.set()


async def busy(answering: Answering) -> tuple[Coalescer[int, str], list[asyncio.Task[str]]]:
    """Return a coalescer with the most calls in flight, of one question each, and the tasks of their callers."""
    joined = Coalescer[int, str]("somebody", answering, most=MOST)
    await joined.submit(-1, WITHIN_S)  # now it knows how quick an answer is
    answering.calls.clear()
    answering.open.clear()
    answering.asked.clear()
    answering.quick = False
    tasks = []
    for number in range(CALLS):
        tasks.append(asyncio.create_task(joined.submit(number, WITHIN_S)))
        await asyncio.wait_for(answering.asked.wait(), 30)
        answering.asked.clear()
        assert answering.calls[number:] == [[number]]
    return joined, tasks


def ask(joined: Coalescer[int, str], numbers: Sequence[int], within_s: float = WITHIN_S) -> list[asyncio.Task[str]]:
    return [asyncio.create_task(joined.submit(number, within_s)) for number in numbers]


async def comes_back(answering: Answering, first: list[asyncio.Task[str]], number: int = 0) -> None:
    """Let one of those calls have its answer."""
    answering.open[number].set()
    await first[number]
    await asyncio.sleep(0)


async def test_further_requests_wait_for_a_call_to_return(answering: Answering) -> None:
    """In order of arrival; as many as may go together share the next call, the rest the one after it."""
    joined, first = await busy(answering)
    waiting = ask(joined, range(10, 15))
    await asyncio.sleep(3 * WAIT_S)
    assert len(answering.calls) == CALLS
    await comes_back(answering, first, 1)
    assert answering.calls[CALLS:] == [[10, 11, 12]]
    await comes_back(answering, first)
    assert answering.calls[CALLS:] == [[10, 11, 12], [13, 14]]
    for call in answering.open:
        call.set()
    assert await asyncio.gather(*waiting) == ["10", "11", "12", "13", "14"]


async def test_a_request_that_would_be_late_fails_early(answering: Answering) -> None:
    """It is never sent, and a later one is answered in time."""
    joined, first = await busy(answering)
    within_s = 0.1
    (late,) = ask(joined, [10], within_s)
    await asyncio.sleep(0)
    answering.clock.advance(within_s * PATIENCE + 0.01)
    (later,) = ask(joined, [11], within_s)
    await asyncio.sleep(0)
    await comes_back(answering, first)
    with pytest.raises(DependencyError, match="overloaded"):
        await late
    assert answering.calls[CALLS:] == [[11]]
    answering.open[-1].set()
    assert await later == "11"


async def test_the_request_of_a_cancelled_caller_is_not_sent(answering: Answering) -> None:
    """If it is cancelled while it waits."""
    joined, first = await busy(answering)
    gone, stays = ask(joined, [10, 11])
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    await comes_back(answering, first)
    assert answering.calls[CALLS:] == [[11]]
    answering.open[-1].set()
    assert await stays == "11"


async def test_a_request_that_goes_alone_does_not_wait(answering: Answering) -> None:
    """However many calls are in flight, and no other request waits for it."""
    joined, _ = await busy(answering)
    alone = asyncio.create_task(joined.submit(10, WITHIN_S, alone=True))
    await asyncio.sleep(0)
    assert answering.calls[CALLS:] == [[10]]
    answering.open[-1].set()
    assert await alone == "10"


async def test_calls_that_fail_make_room(answering: Answering) -> None:
    """Otherwise no further call would ever be made."""
    joined, first = await busy(answering)
    (waiting,) = ask(joined, [10])
    await asyncio.sleep(0)
    answering.failing = True
    for call in answering.open:
        call.set()
    for outcome in await asyncio.gather(*first, return_exceptions=True):
        assert isinstance(outcome, DependencyError)
    answering.failing, answering.quick = False, True
    for call in answering.open:
        call.set()
    assert await waiting == "10"
    assert await joined.submit(11, WITHIN_S) == "11"


async def test_a_call_takes_no_longer_than_its_oldest_request_has(answering: Answering) -> None:
    """Requests that came later may wait longer; the first of a call may not."""
    joined, _ = await busy(answering)
    waiting = [asyncio.create_task(joined.submit(number, within_s)) for number, within_s in ((8, 5.0), (9, 50.0))]
    await asyncio.sleep(0)
    answering.open[0].set()
    await asyncio.wait_for(answering.asked.wait(), 30)
    assert answering.calls[-1] == [8, 9]
    assert answering.within_s[-1] == pytest.approx(5.0, abs=0.01)
    for call in answering.open:
        call.set()
    assert await asyncio.gather(*waiting) == ["8", "9"]
