"""Requests that were learned from become points in Qdrant, with their rating as label; Qdrant away costs only delay."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import numpy as np

from shared.errors import DependencyError
from shared.logs import get_logger
from shared.ports import Clock, RequestIndex, RequestLog
from shared.resilience.circuit_breaker import CircuitBreaker
from shared.schemas.storage import EmbeddingModel, LoggedRequest, Point

BATCH = 256
_ASK_MODEL_EVERY_S = 30.0
"""How soon another embedding model, and so another collection, is noticed."""

_WORK_S = 4.0
"""One step works at most this long; the next goes on."""

DAY_S = 86_400.0

_log = get_logger(__name__)


class Indexer:
    """Brings the index up to date, in batches; a request that was rated often is written once.

    `ask_model` asks the embedder which model it is, every time anew.
    """

    def __init__(
        self,
        *,
        log: RequestLog,
        index: RequestIndex,
        ask_model: Callable[[], Awaitable[EmbeddingModel]],
        clock: Clock,
        recency_days: float,
    ) -> None:
        self._log = log
        self._index = index
        self._ask_model = ask_model
        self._clock = clock
        self._recency_s = recency_days * DAY_S
        self._model: EmbeddingModel | None = None
        self._asked_at = -1e9
        self._breaker = CircuitBreaker(clock, threshold=1, rest_s=1.0, max_rest_s=5.0)
        self.stopping = False

    async def step(self) -> int:
        """Write what is due; return how many requests were dealt with. Never raises DependencyError."""
        if not self._breaker.allows():
            return 0
        try:
            done = await self._write_due()
        except DependencyError as error:
            if not self._breaker.open:
                _log.warning("index waits", reason=str(error))
            self._breaker.failed()
            self._model = None  # whoever comes back may have forgotten the collection
            return 0
        if self._breaker.open:
            _log.info("index goes on")
        self._breaker.succeeded()
        return done

    async def forget_old(self) -> None:
        """Delete points that no decision looks at any more."""
        await self.prepare()
        await self._index.delete_before(self._clock.now() - self._recency_s)

    async def _write_due(self) -> int:
        done, until = 0, self._clock.monotonic() + _WORK_S
        while not self.stopping and self._clock.monotonic() < until:
            due = await self._log.pending_index(BATCH)
            if not due:
                break
            model = await self.prepare()
            requests = await self._log.load(due)
            if any(request is not None and _is_of_another(request, model) for request in requests):
                # Either they are old, and are skipped, or the embedder has changed and we have not noticed.
                model = await self.prepare(anew=True)
            since = self._clock.now() - self._recency_s
            points = [point_of(request, model, since=since) for request in requests if request is not None]
            await self._index.upsert([point for point in points if point is not None])
            marks = {own_id: request.revision if request else 0 for own_id, request in zip(due, requests, strict=True)}
            # Rated anew while we wrote: the new score may have been overwritten by our old one, so it stays due.
            anew = await self._log.indexed(marks)
            done += len(due) - len(anew)
        return done

    async def prepare(self, *, anew: bool = False) -> EmbeddingModel:
        """Return the model whose collection exists, asking the embedder now and then whether it is still that one."""
        if self._model is not None and not anew and self._clock.monotonic() - self._asked_at < _ASK_MODEL_EVERY_S:
            return self._model
        try:
            model = await self._ask_model()
        except DependencyError:
            if self._model is None or anew:
                raise
            model = self._model
        self._asked_at = self._clock.monotonic()
        if model != self._model:
            await self._index.prepare(model)
            self._model = model
            _log.info("collection prepared", model=model.id, dimension=model.dimension)
        return model


def _is_of_another(request: LoggedRequest, model: EmbeddingModel) -> bool:
    return request.vector is not None and request.record.embedding_model != model.id


def point_of(request: LoggedRequest, model: EmbeddingModel, *, since: float) -> Point | None:
    """Return the point, or None where there is none to write: no vector of this model, no answer, too old."""
    record, vector = request.record, request.vector
    if vector is None or _is_of_another(request, model) or vector.shape != (model.dimension,):
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
