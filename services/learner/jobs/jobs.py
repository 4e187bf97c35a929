"""Jobs that arq runs. A job carries no data: the stream is the log, and a job only says that it is time to read it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from arq import Retry, cron
from arq.cron import CronJob

from services.learner.learning.apply_events import EventLearner
from services.learner.learning.retention import drop_expired
from services.learner.writers.history_writer import HistoryWriter
from services.learner.writers.index_writer import IndexWriter
from shared.logs import get_logger
from shared.ports import Clock, EventQueue, PosteriorStore

_TRIES = 5
"""Attempts of one wake-up. The sweep comes every second anyway, and wake-ups that are retried for long pile up."""

INDEX_AT_LATEST_S = 10.0
"""Longest wait of the index for learning. Written while a backlog is learned, it slows that down by half."""

_log = get_logger(__name__)


@dataclass(eq=False)
class LearnerJobs:
    """State and parts of the jobs. Each job runs at most once at a time; arq passes this object as `ctx["jobs"]`."""

    learner: EventLearner
    index_writer: IndexWriter
    posteriors: PosteriorStore
    queue: EventQueue
    clock: Clock
    recency_days: float
    history_writer: HistoryWriter | None = None
    _learning: asyncio.Lock = field(default_factory=asyncio.Lock)
    _indexing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _writing_history: asyncio.Lock = field(default_factory=asyncio.Lock)
    _again: bool = False
    _index_waits_since: float = math.inf

    async def learn(self, *, sweep: bool) -> None:
        """Drain the stream; with `sweep`, also take over abandoned events and update the index.

        A call during another one makes that one drain the stream again.
        """
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
        # Once a second: one batch costs less than ten small ones, and a request that is soon rated is written once.
        if sweep:
            await self._index()

    async def _index(self) -> None:
        """Update the index; learning goes first, for up to `INDEX_AT_LATEST_S`."""
        now = self.clock.monotonic()
        if self._learning.locked():
            self._index_waits_since = min(self._index_waits_since, now)
            if now - self._index_waits_since < INDEX_AT_LATEST_S:
                return
        # A lock of its own: a slow index must not delay new events.
        if not self._indexing.locked():
            async with self._indexing:
                self._index_waits_since = math.inf
                await self.index_writer.step()

    async def write_history(self) -> None:
        """Write the outbox to the history."""
        if self.history_writer is not None and not self._writing_history.locked():
            async with self._writing_history:
                await self.history_writer.step()

    async def drop_expired(self) -> None:
        """Drop expired state."""
        await drop_expired(
            posteriors=self.posteriors,
            queue=self.queue,
            index_writer=self.index_writer,
            clock=self.clock,
            recency_days=self.recency_days,
        )

    def stop(self) -> None:
        """Let each job finish its current batch and start no other."""
        self.learner.stopping = self.index_writer.stopping = True
        if self.history_writer is not None:
            self.history_writer.stopping = True


async def learn(ctx: Mapping[str, Any]) -> None:
    """Job that a gateway enqueues when there are new events."""
    try:
        await _jobs(ctx).learn(sweep=False)
    except Exception as error:
        _log.warning("wake-up failed", error=type(error).__name__, reason=str(error))
        # arq drops a job for good on any other exception.
        if ctx["job_try"] < _TRIES:
            raise Retry(defer=2 ** ctx["job_try"]) from error


def _cron(
    name: str, act: Callable[[LearnerJobs], Awaitable[None]], *, second: set[int], minute: set[int] | None = None
) -> CronJob:
    """Return a periodic job; each run happens on one of the learners. A failed run is retried by the next one."""

    async def run(ctx: Mapping[str, Any]) -> None:
        try:
            await act(_jobs(ctx))
        except Exception as error:  # noqa: BLE001 - the next run is the retry
            _log.warning(f"{name} failed", error=type(error).__name__, reason=str(error))

    return cron(run, name=f"cron:{name}", second=second, minute=minute, run_at_startup=True)


def cron_jobs() -> list[CronJob]:
    """Return the periodic jobs. One job each: learning never waits for PostgreSQL or clean-up."""
    every_s = set(range(60))
    return [
        # Finds events without a wake-up, and those that other learners have abandoned.
        _cron("sweep", lambda jobs: jobs.learn(sweep=True), second=every_s),
        _cron("remember", LearnerJobs.write_history, second=every_s),
        _cron("tidy", LearnerJobs.drop_expired, second={0}, minute=set(range(0, 60, 10))),
    ]


def _jobs(ctx: Mapping[str, Any]) -> LearnerJobs:
    jobs: LearnerJobs = ctx["jobs"]
    return jobs
