"""Coalescer: requests of concurrent callers go out together, in one call to the dependency.

A call costs caller and server several times what one short request in it costs. Two paces of it are in use:

- `BATCHED`, for calls with a deadline whose time grows with the requests in them. A request waits a few milliseconds at
  most for others, and only where requests are known to be quick. Under overload a few calls are in flight, a request
  that has waited for half of its time fails early, and the others are answered in time; otherwise all would be late.
- `PIPELINED`, for commands that take no time of their own: one call is in flight, and what arrives meanwhile makes up
  the next one.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from msgspec import Struct

from shared.errors import DependencyError

Request = TypeVar("Request")
Result = TypeVar("Result")

WAIT_S = 0.005
CALLS = 4
PATIENCE = 0.5
DECAY = 1.001
"""The estimate of a request's time is the least that was seen; it grows by this factor with each slower call."""


class Pace(Struct, frozen=True):
    """When calls are made.

    Attributes:
        calls: most calls in flight that were made for requests that waited.
        wait_s: longest wait for a call to return while fewer than `calls` are in flight.
        call_s: a call takes as many requests as are expected to finish within this time.
        patience: a request that has waited for this part of its time fails: its result would be late.
        detached: whether each call outlives the cancellation of its callers. If not, the first request of a quiet time
            is made by its own caller, which saves a task.
    """

    calls: int = CALLS
    wait_s: float = WAIT_S
    call_s: float = 0.01
    patience: float = PATIENCE
    detached: bool = False


BATCHED = Pace()
PIPELINED = Pace(calls=1, wait_s=0.0, call_s=math.inf, patience=math.inf, detached=True)


class _Waiting(Struct, Generic[Request, Result], eq=False):
    request: Request
    until: float
    patience_until: float
    result: asyncio.Future[Result]


class Coalescer(Generic[Request, Result]):
    """Combines requests into calls. The cancellation of one caller does not affect the requests of others."""

    def __init__(
        self,
        dependency: str,
        call: Callable[[Sequence[Request], float], Awaitable[Sequence[Result | DependencyError]]],
        *,
        most: int,
        pace: Pace = BATCHED,
    ) -> None:
        """Take the dependency's name for errors, and the call of at most `most` requests within some seconds.

        `call` returns a result, or the error of this request alone, for each request; it may raise DependencyError.
        """
        self._dependency = dependency
        self._call = call
        self._limit = most
        self._pace = pace
        self._queue: deque[_Waiting[Request, Result]] = deque()
        self._timer: asyncio.Handle | None = None
        self._in_flight = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._each_s = math.inf

    async def submit(self, request: Request, within_s: float = math.inf, *, alone: bool = False) -> Result:
        """Return the result of a request; `alone` if it must not wait for others, nor others for it.

        Raises DependencyError.
        """
        if alone:
            return _result((await self._call([request], within_s))[0])
        if not self._pace.detached and (not self._in_flight or self._most() < 2):
            self._in_flight += 1
            return _result((await self._made([request], within_s))[0])
        loop, now = asyncio.get_running_loop(), time.monotonic()
        result: asyncio.Future[Result] = loop.create_future()
        self._queue.append(_Waiting(request, now + within_s, now + self._pace.patience * within_s, result))
        if self._timer is None and self._in_flight < self._pace.calls:
            wait_s = self._pace.wait_s
            self._timer = loop.call_later(wait_s, self._flush) if wait_s else loop.call_soon(self._flush)
        return await result

    def _most(self) -> int:
        """Return how many requests may go together."""
        return self._limit if self._pace.call_s == math.inf else min(self._limit, int(self._pace.call_s / self._each_s))

    async def _made(self, requests: Sequence[Request], within_s: float) -> Sequence[Result | DependencyError]:
        """Make a call that is counted as in flight."""
        started = time.monotonic()
        try:
            results = await self._call(requests, within_s)
            self._each_s = min(DECAY * self._each_s, (time.monotonic() - started) / len(requests))
        finally:
            self._in_flight -= 1
            if self._queue:
                self._flush()
        return results

    def _flush(self) -> None:
        """Make calls for all that wait, as far as the pace allows."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue and self._in_flight < self._pace.calls:
            if batch := self._next(max(1, self._most())):
                self._in_flight += 1
                task = asyncio.get_running_loop().create_task(self._call_for(batch), name="coalesced call")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _next(self, most: int) -> list[_Waiting[Request, Result]]:
        """Return the next batch, in order of arrival; fail the requests whose results would be late."""
        now = time.monotonic()
        batch: list[_Waiting[Request, Result]] = []
        while self._queue and len(batch) < most:
            waiting = self._queue.popleft()
            if waiting.result.done():  # cancelled: it must not be sent, for its effect would help no caller
                continue
            if waiting.patience_until < now:
                waiting.result.set_exception(DependencyError(self._dependency, "overloaded: it waited too long"))
            else:
                batch.append(waiting)
        return batch

    async def _call_for(self, batch: Sequence[_Waiting[Request, Result]]) -> None:
        left_s = batch[0].until - time.monotonic()  # the oldest has least
        failure = DependencyError(self._dependency, "the call was cancelled")
        results: Sequence[Result | DependencyError] = [failure] * len(batch)
        try:
            results = await self._made([waiting.request for waiting in batch], left_s)
        except DependencyError as error:
            results = [error] * len(batch)
        finally:
            for waiting, result in zip(batch, results, strict=True):
                if waiting.result.done():  # cancelled
                    continue
                if isinstance(result, DependencyError):
                    waiting.result.set_exception(result)
                else:
                    waiting.result.set_result(result)


def _result(result: Result | DependencyError) -> Result:
    if isinstance(result, DependencyError):
        raise result
    return result
