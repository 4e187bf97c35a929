"""Questions of many callers put together: what comes while a call is under way goes out when one is back, or soon.

A call costs who asks and who answers several times what one quick question does. Only where a question is quick,
though: a call of many that each take milliseconds would be too late for all of them.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from shared.errors import DependencyError
from shared.values import dataclass

Question = TypeVar("Question")
Answer = TypeVar("Answer")

TOGETHER_S = 0.01
"""What a call of several questions may take, as far as one can tell before."""
WAIT_S = 0.005
"""Longest wait for a call to come back."""
FORGET = 1.001
"""The quickest call is what a question takes; one that was quicker than any since counts less with each."""


@dataclass(slots=True, eq=False)
class _Asked(Generic[Question, Answer]):
    question: Question
    until: float
    answer: asyncio.Future[Answer]


class Joined(Generic[Question, Answer]):
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
        self._waiting: list[_Asked[Question, Answer]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._under_way = 0
        self._calls: set[asyncio.Task[None]] = set()
        self._each_s = math.inf

    async def ask(self, question: Question, within_s: float, *, alone: bool = False) -> Answer:
        """Return the answer; `alone` where others should not have to wait for this question, nor it for them."""
        if alone or not self._under_way or self._most() < 2:
            return (await self._made([question], within_s))[0]
        loop = asyncio.get_running_loop()
        asked = _Asked[Question, Answer](question, time.monotonic() + within_s, loop.create_future())
        self._waiting.append(asked)
        if self._timer is None:
            self._timer = loop.call_later(WAIT_S, self._call_for_all)
        return await asked.answer

    def _most(self) -> int:
        """Return how many questions may go together."""
        return min(self._limit, int(TOGETHER_S / self._each_s))

    async def _made(self, questions: Sequence[Question], within_s: float) -> Sequence[Answer]:
        started = time.monotonic()
        self._under_way += 1
        try:
            answers = await self._call(questions, within_s)
            self._each_s = min(FORGET * self._each_s, (time.monotonic() - started) / len(questions))
        finally:
            self._under_way -= 1
            if self._waiting:
                self._call_for_all()
        return answers

    def _call_for_all(self) -> None:
        """Ask for everybody who still waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = [one for one in self._waiting if not one.answer.done()], []
        most = max(1, self._most())
        for start in range(0, len(waiting), most):
            call = asyncio.get_running_loop().create_task(self._call_for(waiting[start : start + most]))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _call_for(self, waiting: Sequence[_Asked[Question, Answer]]) -> None:
        left_s = waiting[0].until - time.monotonic()  # the oldest has least
        failure = DependencyError(self._dependency, "the call was given up")
        answers: Sequence[Answer] | None = None
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
                    one.answer.set_exception(failure)
