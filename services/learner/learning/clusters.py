"""Cluster updater: fits clusters of prompts to the traffic, and recounts earlier requests by the newest clusters.

A request's ledger is a function of its outcome, its rating, its vector and the centroids. Recounting moves it from one
cluster to another. Each move is atomic and idempotent, so a recount may be interrupted and may run on several learners
concurrently. It covers all requests once after each fit, and then those that were learned under older clusters (the
script that learns them lists them). Requests that Redis no longer keeps stay in clusters that are not read any more:
for decisions their cluster is unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from services.learner.learning.retention import faded_before
from services.learner.writers.index_writer import IndexWriter
from shared.bandit.clusters import REFIT_AT, fit_centroids, refit_due
from shared.bandit.sums import Centroids
from shared.errors import CorruptState, DependencyError
from shared.logs import get_logger
from shared.metrics import LearnerMetrics
from shared.ports import Clock, PosteriorStore, RequestIndex, RequestLog
from shared.schemas.storage import LoggedRequest, Move, Recounting

BATCH = 256
SAMPLE = 2000
"""Newest vectors used by a fit: enough for eight clusters, fetched and fitted in a fraction of a second."""

CHECK_EVERY_S = 10.0
"""How often to check whether a fit is due."""

_WORK_S = 0.5
"""Longest recount of one step; the next step continues."""

_log = get_logger(__name__)


class Recounter(Protocol):
    """Store operations of a recount. Totals never change."""

    async def state(self, limit: int) -> Recounting:
        """Return the progress, with up to `limit` requests that are known to be counted by older clusters.

        Raises CorruptState when the centroids cannot be read.
        """

    async def move(self, moves: Mapping[str, Move | None], epoch: int) -> int:
        """Move requests, by own id, to their clusters of `epoch`; None: nothing is left to count, only unlist it.

        Each move is atomic and idempotent. A request that is rated meanwhile, or whose epoch has passed, stays due.
        Returns how many have damaged sums and were left unchanged.
        """

    async def counted(self, epoch: int) -> None:
        """Record that every request is counted by the clusters of `epoch`."""


class ClusterUpdater:
    """Fits clusters when due and recounts earlier requests. Calls of `step` must not overlap."""

    def __init__(
        self,
        *,
        log: RequestLog,
        index: RequestIndex,
        index_writer: IndexWriter,
        posteriors: PosteriorStore,
        recounter: Recounter,
        clock: Clock,
        metrics: LearnerMetrics,
        recency_days: float,
    ) -> None:
        self._log = log
        self._index = index
        self._indexer = index_writer
        self._posteriors = posteriors
        self._recounter = recounter
        self._clock = clock
        self._metrics = metrics
        self._recency_days = recency_days
        self._check_at = -1e9
        self._index_away = False
        self._walk: AsyncIterator[list[str]] | None = None
        self._walked: tuple[int, str] | None = None
        self.stopping = False

    async def step(self) -> None:
        """Fit if due, then recount for up to `_WORK_S`. Raises DependencyError when Redis fails."""
        try:
            state = await self._recounter.state(BATCH)
            if self._clock.monotonic() >= self._check_at:
                self._check_at = self._clock.monotonic() + CHECK_EVERY_S
                if await self._fit(state.centroids):
                    state = await self._recounter.state(BATCH)
            if state.centroids is not None:
                self._metrics.cluster_epoch.set(state.centroids.epoch)
                await self._recount(state, state.centroids)
        except CorruptState as error:
            _log.error("clusters cannot be read", reason=str(error))

    # -- fitting -------------------------------------------------------------------------------------------------

    async def _fit(self, old: Centroids | None) -> bool:
        """Fit if there are enough requests; return whether there are new clusters, ours or those of another learner."""
        try:
            model = await self._indexer.prepare()
            # Vectors of another model cannot be compared with the old centroids: then the count starts from 0.
            same = old is not None and (old.model, old.centres.shape[1]) == (model.id, model.dimension)
            fitted = old.requests if same and old is not None else 0
            if fitted >= REFIT_AT[-1]:
                return False
            count = await self._index.count()
            vectors = await self._index.sample(SAMPLE) if refit_due(fitted, count) else None
        except DependencyError as error:
            if not self._index_away:
                _log.warning("clusters not updated", reason=str(error))
            self._index_away = True
            return False
        self._index_away = False
        if vectors is None or not len(vectors) or vectors.shape[1] != model.dimension:
            return False
        epoch = 1 if old is None else old.epoch + 1
        rng = np.random.default_rng([epoch, 2])
        new = await asyncio.to_thread(fit_centroids, vectors, epoch=epoch, rng=rng)
        if await self._posteriors.save_centroids(replace(new, model=model.id, requests=count)):
            _log.info("clusters fitted", epoch=epoch, clusters=len(new.centres), requests=count)
        return True

    # -- recounting ------------------------------------------------------------------------------------------------

    async def _recount(self, state: Recounting, centroids: Centroids) -> None:
        until = self._clock.monotonic() + _WORK_S
        due = state.due
        while due and not self.stopping:
            await self._move(due, centroids)
            more = len(due) == BATCH and self._clock.monotonic() <= until
            due = (await self._recounter.state(BATCH)).due if more else []
        if state.counted:
            self._walk = None
            return
        if self._walk is None or self._walked != (centroids.epoch, state.run):
            self._walk, self._walked = self._log.ids_of(None, since=0.0), (centroids.epoch, state.run)
        try:
            while not self.stopping and self._clock.monotonic() <= until:
                own_ids = await anext(self._walk, None)
                if own_ids is None:
                    await self._finish_walk(centroids)
                    return
                await self._move(own_ids, centroids)
        except BaseException:
            self._walk = None  # an interrupted generator cannot be resumed
            raise

    async def _finish_walk(self, centroids: Centroids) -> None:
        self._walk = None
        # If Redis restarted during the scan, requests may have been missed: scan again.
        run = (await self._recounter.state(1)).run
        if self._walked == (centroids.epoch, run):
            await self._recounter.counted(centroids.epoch)
            _log.info("recount finished", epoch=centroids.epoch)

    async def _move(self, own_ids: Sequence[str], centroids: Centroids) -> None:
        since = faded_before(self._clock.now(), self._recency_days)
        requests = await self._log.load(own_ids)
        moves = {
            own_id: move_of(request, centroids, since=since) for own_id, request in zip(own_ids, requests, strict=True)
        }
        damaged = await self._recounter.move(moves, centroids.epoch)
        if damaged:
            _log.error("requests not recounted: their sums are damaged", requests=damaged)


def move_of(request: LoggedRequest | None, centroids: Centroids, *, since: float) -> Move | None:
    """Return the move of a request to its cluster; None when nothing of it can be counted any more."""
    if request is None or request.record.created_at < since:
        return None
    record = request.record
    comparable = centroids.model in ("", record.embedding_model)
    cluster = centroids.cluster_of(request.vector) if comparable else None
    return Move(record.outcome.arm, record.created_at, cluster)
