"""The jobs that arq runs. They carry nothing: the stream is the log, a job only says "look"."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from arq import Retry, cron
from arq.cron import CronJob
from arq.worker import Function, func

from services.learner.clusterer import Clusterer
from services.learner.historian import Historian
from services.learner.index import Indexer
from services.learner.learn import EventLearner
from services.learner.maintenance import keep_house
from shared.logs import get_logger
from shared.ports import Clock, EventQueue, PosteriorStore
from shared.storage.redis_queue import LEARN_JOB

_TRIES = 5
"""A wake-up is worth no more: the sweep comes every second anyway, and waiting wake-ups would pile up."""

INDEX_AT_LATEST_S = 10.0
"""So long the index may wait while events are learned: beside it, a backlog takes half as long again."""

_log = get_logger(__name__)


@dataclass(eq=False)
class Duties:
    """What the jobs work with; arq hands it to them as `ctx["duties"]`."""

    learner: EventLearner
    indexer: Indexer
    posteriors: PosteriorStore
    queue: EventQueue
    clock: Clock
    recency_days: float
    historian: Historian | None = None
    clusterer: Clusterer | None = None
    _learning: asyncio.Lock = field(default_factory=asyncio.Lock)
    _indexing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _remembering: asyncio.Lock = field(default_factory=asyncio.Lock)
    _clustering: asyncio.Lock = field(default_factory=asyncio.Lock)
    _again: bool = False
    _put_off_since: float = math.inf

    async def learn(self, *, sweep: bool) -> None:
        """Drain the stream; with a sweep, bring the index up to date. Calls during another one make it look again."""
        if self._learning.locked():
            self._again = True
        else:
            async with self._learning:
                await self.learner.drain()
                if sweep:
                    await self.learner.sweep()
                while self._again and not self.learner.stopping:
                    self._again = False
                    await self.learner.drain()
        # Once a second: a batch costs less than its parts, and what is rated soon is written once.
        if sweep:
            await self._index()

    async def _index(self) -> None:
        """Bring the index up to date; what is being learned goes first, for a while."""
        now = self.clock.monotonic()
        if self._learning.locked():
            self._put_off_since = min(self._put_off_since, now)
            if now - self._put_off_since < INDEX_AT_LATEST_S:
                return
        # A lock of its own: a slow index must not keep new events waiting.
        if not self._indexing.locked():
            async with self._indexing:
                self._put_off_since = math.inf
                await self.indexer.step()

    async def remember(self) -> None:
        """Write what waits for the history."""
        if self.historian is not None and not self._remembering.locked():
            async with self._remembering:
                await self.historian.step()

    async def cluster(self) -> None:
        """Fit clusters if it is time, and count by them what was learned before."""
        if self.clusterer is not None and not self._clustering.locked():
            async with self._clustering:
                await self.clusterer.step()

    async def keep_house(self) -> None:
        """Drop what has faded."""
        await keep_house(
            posteriors=self.posteriors,
            queue=self.queue,
            indexer=self.indexer,
            clock=self.clock,
            recency_days=self.recency_days,
        )

    def stop(self) -> None:
        """Finish the batches at hand, begin no other."""
        self.learner.stopping = self.indexer.stopping = True
        if self.historian is not None:
            self.historian.stopping = True
        if self.clusterer is not None:
            self.clusterer.stopping = True


async def learn(ctx: Mapping[str, Any]) -> None:
    """Wake-up: a gateway says that there is work."""
    try:
        await _duties(ctx).learn(sweep=False)
    except Exception as error:
        _log.warning("wake-up failed", error=type(error).__name__, reason=str(error))
        # arq drops a job for good on any other exception.
        if ctx["job_try"] < _TRIES:
            raise Retry(defer=2 ** ctx["job_try"]) from error


def _tick(
    name: str, act: Callable[[Duties], Awaitable[None]], *, second: set[int], minute: set[int] | None = None
) -> CronJob:
    """Return a job that comes by itself, on one of the learners; failing, it leaves it to the next tick."""

    async def tick(ctx: Mapping[str, Any]) -> None:
        try:
            await act(_duties(ctx))
        except Exception as error:  # noqa: BLE001 - the next tick is the retry
            _log.warning(f"{name} failed", error=type(error).__name__, reason=str(error))

    return cron(tick, name=f"cron:{name}", second=second, minute=minute, run_at_startup=True)


def functions() -> list[Function]:
    """Return the jobs that others may enqueue."""
    return [func(learn, name=LEARN_JOB, keep_result=0)]


def crons() -> list[CronJob]:
    """Return the jobs that come by themselves.

    Each is a job of its own: nothing learned ever waits for the database, for clusters or for housekeeping.
    """
    every_s = set(range(60))
    return [
        # What no wake-up announced, and what other learners have left.
        _tick("sweep", lambda duties: duties.learn(sweep=True), second=every_s),
        _tick("remember", Duties.remember, second=every_s),
        _tick("cluster", Duties.cluster, second=set(range(0, 60, 2))),
        _tick("tidy", Duties.keep_house, second={0}, minute=set(range(0, 60, 10))),
    ]


def _duties(ctx: Mapping[str, Any]) -> Duties:
    duties: Duties = ctx["duties"]
    return duties
