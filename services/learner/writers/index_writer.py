"""Index writer: writes rated requests to Qdrant as points labelled by their rating. A failure only delays them.

Only rated requests are searched for. A point costs Qdrant several times the processor time of a search, and more memory
than the vector takes in Redis, so a request that was never rated has none. If the rating is withdrawn, the point stays
without a score, because the vector is nowhere else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from shared.errors import DependencyError
from shared.logs import get_logger
from shared.ports import Clock, RequestIndex, RequestLog
from shared.resilience.circuit_breaker import CircuitBreaker
from shared.schemas.storage import EmbeddingModel, LoggedRequest, Point

BATCH = 256
_FETCH_MODEL_EVERY_S = 30.0
"""How soon a change of the embedding model, and so of the collection, is noticed."""

_WORK_S = 4.0
"""Longest run of one step; the next step continues."""

DAY_S = 86_400.0

_log = get_logger(__name__)


class IndexWriter:
    """Writer from the list of unindexed requests to the index, in batches; several ratings cause one write.

    `fetch_model` fetches the embedder's current model, without a cache.
    """

    def __init__(
        self,
        *,
        log: RequestLog,
        index: RequestIndex,
        fetch_model: Callable[[], Awaitable[EmbeddingModel]],
        clock: Clock,
        point_days: float,
    ) -> None:
        """Take how long points stay."""
        self._log = log
        self._index = index
        self._fetch_model = fetch_model
        self._clock = clock
        self._kept_s = point_days * DAY_S
        self._model: EmbeddingModel | None = None
        self._fetched_at = -1e9
        self._breaker = CircuitBreaker(clock, threshold=1, first_cooldown_s=1.0, max_cooldown_s=5.0)
        self.stopping = False

    async def step(self) -> int:
        """Write due points; return how many requests were processed. Never raises DependencyError."""
        if not self._breaker.allows():
            return 0
        try:
            done = await self._write_due()
        except DependencyError as error:
            if not self._breaker.open:
                _log.warning("index waits", reason=str(error))
            self._breaker.failed()
            self._model = None  # a restored index may lack the collection
            return 0
        if self._breaker.open:
            _log.info("index goes on")
        self._breaker.succeeded()
        return done

    async def delete_old(self) -> None:
        """Delete points that are too old for decisions."""
        await self.prepare()
        await self._index.delete_before(self._clock.now() - self._kept_s)

    async def _write_due(self) -> int:
        done, until = 0, self._clock.monotonic() + _WORK_S
        while not self.stopping and self._clock.monotonic() < until:
            due = await self._log.pending_index(BATCH)
            if not due:
                break
            model = await self.prepare()
            written = await self._write_rated([own_id for own_id, revision in due.items() if revision], model)
            # A request rated during the write may have got our old score: it stays due.
            still_due = await self._log.indexed(due | written)
            done += len(due) - len(still_due)
        return done

    async def _write_rated(self, own_ids: Sequence[str], model: EmbeddingModel) -> dict[str, int]:
        """Write the points of rated requests; return the revisions that were written."""
        requests = [request for request in await self._log.load(own_ids) if request is not None]
        if any(_is_of_other_model(request, model) for request in requests):
            # Either these vectors are old, and are skipped, or the embedder has changed since we fetched its model.
            model = await self.prepare(anew=True)
        since = self._clock.now() - self._kept_s
        points = [point_of(request, model, since=since) for request in requests]
        await self._index.upsert([point for point in points if point is not None])
        # A point that was written before: its vector is there and nowhere else.
        await self._index.label({one.record.id: one.score for one in requests if one.vector is None})
        return {one.record.id: one.revision for one in requests}

    async def prepare(self, *, anew: bool = False) -> EmbeddingModel:
        """Return the embedder's model, fetched anew when `anew` or when it is old; its collection exists."""
        if self._model is not None and not anew and self._clock.monotonic() - self._fetched_at < _FETCH_MODEL_EVERY_S:
            return self._model
        try:
            model = await self._fetch_model()
        except DependencyError:
            if self._model is None or anew:
                raise
            model = self._model
        self._fetched_at = self._clock.monotonic()
        if model != self._model:
            await self._index.prepare(model)
            self._model = model
            _log.info("collection prepared", model=model.id, dimension=model.dimension)
        return model


def _is_of_other_model(request: LoggedRequest, model: EmbeddingModel) -> bool:
    return request.vector is not None and request.record.embedding_model != model.id


def point_of(request: LoggedRequest, model: EmbeddingModel, *, since: float) -> Point | None:
    """Return the point of a request; None without a vector of this model or an answer, or when too old."""
    record, vector = request.record, request.vector
    if vector is None or _is_of_other_model(request, model) or vector.shape != (model.dimension,):
        return None
    if not record.rateable or not np.isfinite(vector).all() or record.created_at < since:
        return None
    return Point(
        request_id=record.id,
        vector=vector,
        arm=record.outcome.arm,
        created_at=record.created_at,
        owner=record.owner,
        score=request.score,
    )
