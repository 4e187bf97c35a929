"""Questions of many callers put together: what comes while a call is under way goes out when one is back, or soon.

A call costs who asks and who answers several times what one quick question does. Only where a question is quick,
though: a call of many that each take milliseconds would be too late for all of them.

Where more is asked than can be answered, a few calls are under way, whoever has waited for half of its time is told
so, and the others have their answers in time. Calls without end would all be late, and their answers for nobody.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from shared.errors import DependencyError
from shared.values import dataclass

Question = TypeVar("Question")
Answer = TypeVar("Answer")

TOGETHER_S = 0.01
"""What a call of several questions may take, as far as one can tell before."""
WAIT_S = 0.005
"""Longest wait for a call to come back, while fewer than `CALLS` are under way."""
CALLS = 4
"""Most calls under way that were made for somebody who waited."""
PATIENCE = 0.5
"""Whoever has waited for this part of its time is not asked for any more: the answer would be late."""
FORGET = 1.001
"""The quickest call is what a question takes; one that was quicker than any since counts less with each."""


@dataclass(slots=True, eq=False)
class _Asked(Generic[Question, Answer]):
    question: Question
    until: float
    patience_until: float
    answer: asyncio.Future[Answer]


class Coalescer(Generic[Question, Answer]):
    """Makes calls for several callers at once. Being cancelled, a caller touches nobody else's question."""

    def __init__(
        self,
        dependency: str,
        call: Callable[[Sequence[Question], float], Awaitable[Sequence[Answer]]],
        *,
        most: int,
    ) -> None:
        """Take whose name failures carry, and the call: of at most so many questions, within some seconds."""
        self._dependency = dependency
        self._limit = most
        self._call = call
        self._waiting: deque[_Asked[Question, Answer]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._under_way = 0
        self._calls: set[asyncio.Task[None]] = set()
        self._each_s = math.inf

    async def ask(self, question: Question, within_s: float, *, alone: bool = False) -> Answer:
        """Return the answer; `alone` where others should not have to wait for this question, nor it for them."""
        if alone:
            return (await self._call([question], within_s))[0]
        if not self._under_way or self._most() < 2:
            self._under_way += 1
            return (await self._made([question], within_s))[0]
        loop, now = asyncio.get_running_loop(), time.monotonic()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append(_Asked(question, now + within_s, now + PATIENCE * within_s, answer))
        if self._timer is None and self._under_way < CALLS:
            self._timer = loop.call_later(WAIT_S, self._call_for_all)
        return await answer

    def _most(self) -> int:
        """Return how many questions may go together."""
        return min(self._limit, int(TOGETHER_S / self._each_s))

    async def _made(self, questions: Sequence[Question], within_s: float) -> Sequence[Answer]:
        """Make a call that is counted as under way."""
        started = time.monotonic()
        try:
            answers = await self._call(questions, within_s)
            self._each_s = min(FORGET * self._each_s, (time.monotonic() - started) / len(questions))
        finally:
            self._under_way -= 1
            if self._waiting:
                self._call_for_all()
        return answers

    def _call_for_all(self) -> None:
        """Ask for everybody who still waits, as far as calls may be made."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and self._under_way < CALLS:
            if waiting := self._next(max(1, self._most())):
                self._under_way += 1
                call = asyncio.get_running_loop().create_task(self._call_for(waiting), name="joined")
                self._calls.add(call)
                call.add_done_callback(self._calls.discard)

    def _next(self, most: int) -> list[_Asked[Question, Answer]]:
        """Take those whose turn it is; tell those whose answers would be late."""
        now = time.monotonic()
        taken: list[_Asked[Question, Answer]] = []
        while self._waiting and len(taken) < most:
            asked = self._waiting.popleft()
            if asked.answer.done():  # cancelled
                continue
            if asked.patience_until < now:
                asked.answer.set_exception(DependencyError(self._dependency, "there was too much to do"))
            else:
                taken.append(asked)
        return taken

    async def _call_for(self, waiting: Sequence[_Asked[Question, Answer]]) -> None:
        left_s = waiting[0].until - time.monotonic()  # the oldest has least
        answers: Sequence[Answer] | None = None
        failure: DependencyError | None = None
        try:
            answers = await self._made([one.question for one in waiting], left_s)
        except DependencyError as error:
            failure = error
        finally:
            for at, one in enumerate(waiting):
                if one.answer.done():  # cancelled
                    continue
                if answers is not None:
                    one.answer.set_result(answers[at])
                else:
                    one.answer.set_exception(failure or DependencyError(self._dependency, "the call was given up"))
