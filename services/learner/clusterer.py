"""Kinds of prompt: clusters fitted to the traffic now and then, and what was learned before counted by the newest.

A request's ledger is a function of what it taught, its vector and the centres. So counting anew is a move from one
cluster to another, each request atomic, and may be interrupted, repeated and done by several learners at once. Two
things are gone through: all requests, once after each fit; and those that are learned afterwards under older clusters
(the script that learns them lists them). Requests that Redis no longer keeps stay in clusters that nobody reads, which
is "kind unknown".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from services.learner.index import Indexer
from services.learner.maintenance import faded_before
from shared.bandit.clusters import REFIT_AT, fit_centroids, refit_due
from shared.bandit.sums import Centroids
from shared.errors import CorruptState, DependencyError
from shared.logs import get_logger
from shared.metrics import LearnerMetrics
from shared.ports import Clock, PosteriorStore, RequestIndex, RequestLog
from shared.schemas.storage import LoggedRequest, Move, Recounting

BATCH = 256
SAMPLE = 2000
"""Vectors that a fit looks at, the newest: enough for eight clusters, a fraction of a second to fetch and to fit."""

LOOK_EVERY_S = 10.0
"""How often it is looked whether a fit is due."""

_WORK_S = 0.5
"""One step counts anew at most this long; the next goes on."""

_log = get_logger(__name__)


class Recounter(Protocol):
    """What has been learned, counted by later clusters than those under which it was learned. Totals never change."""

    async def state(self, limit: int) -> Recounting:
        """Return how far it is, with up to `limit` requests that are known to be counted wrongly.

        Raises CorruptState when the centres cannot be read.
        """

    async def move(self, moves: Mapping[str, Move | None], epoch: int) -> int:
        """Count requests, by own id, in their clusters of `epoch`; None: nothing is left to count, cross it off.

        Atomic for each; once more changes nothing. One that is rated meanwhile, or whose epoch has passed, stays due.
        Returns how many are damaged and stay as they are.
        """

    async def counted(self, epoch: int) -> None:
        """Say that every request is counted by the clusters of that epoch."""


class Clusterer:
    """Fits clusters when they are due and moves what was learned into them. One call of `step` at a time."""

    def __init__(
        self,
        *,
        log: RequestLog,
        index: RequestIndex,
        indexer: Indexer,
        posteriors: PosteriorStore,
        recounter: Recounter,
        clock: Clock,
        metrics: LearnerMetrics,
        recency_days: float,
    ) -> None:
        self._log = log
        self._index = index
        self._indexer = indexer
        self._posteriors = posteriors
        self._recounter = recounter
        self._clock = clock
        self._metrics = metrics
        self._recency_days = recency_days
        self._look_at = -1e9
        self._index_away = False
        self._walk: AsyncIterator[list[str]] | None = None
        self._walked: tuple[int, str] | None = None
        self.stopping = False

    async def step(self) -> None:
        """Fit if it is due, then count anew for a while. Raises DependencyError where Redis is away."""
        try:
            state = await self._recounter.state(BATCH)
            if self._clock.monotonic() >= self._look_at:
                self._look_at = self._clock.monotonic() + LOOK_EVERY_S
                if await self._fit(state.centroids):
                    state = await self._recounter.state(BATCH)
            if state.centroids is not None:
                self._metrics.cluster_epoch.set(state.centroids.epoch)
                await self._count_anew(state, state.centroids)
        except CorruptState as error:
            _log.error("clusters cannot be read", reason=str(error))

    # -- fitting -------------------------------------------------------------------------------------------------

    async def _fit(self, old: Centroids | None) -> bool:
        """Fit if there are enough requests; return whether there are new clusters, ours or of a quicker learner."""
        try:
            model = await self._indexer.prepare()
            # Vectors of another model have nothing to do with the old centres: then it begins anew.
            same = old is not None and (old.model, old.centres.shape[1]) == (model.id, model.dimension)
            fitted = old.requests if same and old is not None else 0
            if fitted >= REFIT_AT[-1]:
                return False
            count = await self._index.count()
            vectors = await self._index.sample(SAMPLE) if refit_due(fitted, count) else None
        except DependencyError as error:
            if not self._index_away:
                _log.warning("clusters wait", reason=str(error))
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

    # -- counting anew -------------------------------------------------------------------------------------------

    async def _count_anew(self, state: Recounting, centroids: Centroids) -> None:
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
                    await self._arrived(centroids)
                    return
                await self._move(own_ids, centroids)
        except BaseException:
            self._walk = None  # what was cut off cannot be gone on with
            raise

    async def _arrived(self, centroids: Centroids) -> None:
        self._walk = None
        # A Redis that was restarted may have shown some requests twice and others never.
        run = (await self._recounter.state(1)).run
        if self._walked == (centroids.epoch, run):
            await self._recounter.counted(centroids.epoch)
            _log.info("counted by the new clusters", epoch=centroids.epoch)

    async def _move(self, own_ids: Sequence[str], centroids: Centroids) -> None:
        since = faded_before(self._clock.now(), self._recency_days)
        requests = await self._log.load(own_ids)
        moves = {
            own_id: move_of(request, centroids, since=since) for own_id, request in zip(own_ids, requests, strict=True)
        }
        damaged = await self._recounter.move(moves, centroids.epoch)
        if damaged:
            _log.error("some requests keep their old clusters: damaged sums", requests=damaged)


def move_of(request: LoggedRequest | None, centroids: Centroids, *, since: float) -> Move | None:
    """Return where a request belongs; None where nothing of it can be counted any more."""
    if request is None or request.record.created_at < since:
        return None
    record = request.record
    comparable = centroids.model in ("", record.embedding_model)
    cluster = centroids.cluster_of(request.vector) if comparable else None
    return Move(record.outcome.arm, record.created_at, cluster)
