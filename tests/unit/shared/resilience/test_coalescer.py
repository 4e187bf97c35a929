"""`Coalescer` where more is asked than can be answered: few calls, and nobody's time for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from shared.errors import DependencyError
from shared.resilience.coalescer import CALLS, PATIENCE, WAIT_S, Coalescer

WITHIN_S = 1.0
MOST = 3


class Answering:
    """Notes each call, and answers it when told to."""

    def __init__(self) -> None:
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
        if self.failing:
            raise DependencyError("somebody", "away")
        return [str(question) for question in questions]


@pytest.fixture
async def answering() -> AsyncIterator[Answering]:
    answering = Answering()
    yield answering
    for call in answering.open:
        call.set()


async def busy(answering: Answering) -> tuple[Coalescer[int, str], list[asyncio.Task[str]]]:
    """Return one with as many calls under way as there may be, of one question each, and who asked."""
    joined = Coalescer[int, str]("somebody", answering, most=MOST)
    await joined.submit(-1, WITHIN_S)  # now it knows how quick an answer is
    answering.calls.clear()
    answering.open.clear()
    answering.asked.clear()
    answering.quick = False
    tasks = []
    for number in range(CALLS):
        tasks.append(asyncio.create_task(joined.submit(number, WITHIN_S)))
        await asyncio.wait_for(answering.asked.wait(), WITHIN_S)
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


async def test_more_wait_for_a_call_to_come_back(answering: Answering) -> None:
    """In their order, as many as may go together; the rest for the next one."""
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


async def test_whose_answer_would_be_late_is_told_so(answering: Answering) -> None:
    """Its question is never asked, and who came later is served in time."""
    joined, first = await busy(answering)
    within_s = 0.1
    (late,) = ask(joined, [10], within_s)
    await asyncio.sleep(within_s * PATIENCE + 0.01)
    (later,) = ask(joined, [11], within_s)
    await asyncio.sleep(0)
    await comes_back(answering, first)
    with pytest.raises(DependencyError, match="overloaded"):
        await late
    assert answering.calls[CALLS:] == [[11]]
    answering.open[-1].set()
    assert await later == "11"


async def test_who_has_left_is_not_asked_for(answering: Answering) -> None:
    """While it waits for its turn."""
    joined, first = await busy(answering)
    gone, stays = ask(joined, [10, 11])
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    await comes_back(answering, first)
    assert answering.calls[CALLS:] == [[11]]
    answering.open[-1].set()
    assert await stays == "11"


async def test_who_asks_alone_waits_for_nobody(answering: Answering) -> None:
    """However many calls are under way, and nobody waits for it."""
    joined, _ = await busy(answering)
    alone = asyncio.create_task(joined.submit(10, WITHIN_S, alone=True))
    await asyncio.sleep(0)
    assert answering.calls[CALLS:] == [[10]]
    answering.open[-1].set()
    assert await alone == "10"


async def test_calls_that_fail_make_room(answering: Answering) -> None:
    """Else nobody would ever ask again."""
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
    await asyncio.wait_for(answering.asked.wait(), WITHIN_S)
    assert answering.calls[-1] == [8, 9]
    assert answering.within_s[-1] <= 5.0
    for call in answering.open:
        call.set()
    assert await asyncio.gather(*waiting) == ["8", "9"]
