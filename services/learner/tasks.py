"""The jobs that arq runs. They carry nothing: the stream is the log, a job only says "look"."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
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

    async def learn(self, *, sweep: bool) -> None:
        """Drain the stream, then bring the index up to date. Calls during another one make that one look again."""
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
        # A lock of its own: a slow index must not keep new events waiting.
        if not self._indexing.locked():
            async with self._indexing:
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


async def sweep(ctx: Mapping[str, Any]) -> None:
    """Tick: read what no wake-up announced, and take over what other learners have left."""
    try:
        await _duties(ctx).learn(sweep=True)
    except Exception as error:  # noqa: BLE001 - the next tick is the retry
        _log.warning("sweep failed", error=type(error).__name__, reason=str(error))


async def remember(ctx: Mapping[str, Any]) -> None:
    """Tick: the database gets what it does not have yet. A job of its own: nothing learned ever waits for it."""
    try:
        await _duties(ctx).remember()
    except Exception as error:  # noqa: BLE001 - the next tick is the retry
        _log.warning("history failed", error=type(error).__name__, reason=str(error))


async def cluster(ctx: Mapping[str, Any]) -> None:
    """Tick: the kinds of prompt follow the traffic, and what was learned follows them."""
    try:
        await _duties(ctx).cluster()
    except Exception as error:  # noqa: BLE001 - the next tick is the retry
        _log.warning("clustering failed", error=type(error).__name__, reason=str(error))


async def tidy(ctx: Mapping[str, Any]) -> None:
    """Tick: housekeeping."""
    try:
        await _duties(ctx).keep_house()
    except Exception as error:  # noqa: BLE001 - the next tick is the retry
        _log.warning("housekeeping failed", error=type(error).__name__, reason=str(error))


def functions() -> list[Function]:
    """Return the jobs that others may enqueue."""
    return [func(learn, name=LEARN_JOB, keep_result=0)]


def crons() -> list[CronJob]:
    """Return the jobs that come by themselves; each runs on one of the learners."""
    return [
        cron(sweep, second=set(range(60)), run_at_startup=True),
        cron(remember, second=set(range(60)), run_at_startup=True),
        cron(cluster, second=set(range(0, 60, 2)), run_at_startup=True),
        cron(tidy, minute=set(range(0, 60, 10)), run_at_startup=True),
    ]


def _duties(ctx: Mapping[str, Any]) -> Duties:
    duties: Duties = ctx["duties"]
    return duties
