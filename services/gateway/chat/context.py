"""Context of a prompt: its vector and its neighbours. A dependency that fails costs context, never the answer."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import numpy as np
from msgspec import Struct

from shared.bandit.context import EMPTY, Context, Neighbour, Vector
from shared.errors import DependencyError
from shared.logs import get_logger
from shared.metrics import GatewayMetrics
from shared.ports import Clock, Embedder, RequestIndex
from shared.resilience.circuit_breaker import CircuitBreaker
from shared.schemas.storage import EmbeddingModel
from shared.tracing import span

_log = get_logger(__name__)
_T = TypeVar("_T")
RECHECK_S = 30.0
HICCUP_S = 0.2
"""Longer than the pauses of the local Qdrant engine, and not longer than five late calls in a row."""


class ContextLimits(Struct, frozen=True):
    """Deadlines and the seed's similarity settings."""

    embed_timeout_s: float
    search_timeout_s: float
    neighbours: int
    threshold: float
    recency_s: float
    max_chars: int


class Gathered(Struct, frozen=True, eq=False):
    """A context, the model that made its vector, and which dependency was missed."""

    context: Context = EMPTY
    embedding_model: str | None = None
    degraded: tuple[str, ...] = ()


class ContextGatherer:
    """Embeds a prompt and finds its neighbours, each within its deadline."""

    def __init__(
        self, embedder: Embedder, index: RequestIndex, limits: ContextLimits, *, clock: Clock, metrics: GatewayMetrics
    ) -> None:
        self._embedder = embedder
        self._index = index
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._model: EmbeddingModel | None = None
        self._prepared: EmbeddingModel | None = None
        self._checked_at = float("-inf")
        self._breakers = {name: CircuitBreaker(clock, hiccup_s=HICCUP_S) for name in ("embedder", "qdrant")}

    @property
    def model(self) -> EmbeddingModel | None:
        """The model that the embedder reported last."""
        return self._model

    @property
    def prepared(self) -> bool:
        """Whether the index has a collection for that model."""
        return self._prepared is not None and self._prepared == self._model

    def skips(self, dependency: str) -> bool:
        """Return whether the circuit of `dependency` is open."""
        return self._breakers[dependency].open

    async def prepare(self) -> None:
        """Read the embedder's model and prepare its collection; cheap when nothing is due. Raises DependencyError.

        Runs in a loop: both may be away at start, and the embedder may return with another model.
        """
        now = self._clock.monotonic()
        if now - self._checked_at < RECHECK_S:
            return
        self._model = await self._embedder.model()
        await self._index.prepare(self._model)
        if self._model != self._prepared:
            await self._warm_up(self._model)
            self._prepared = self._model
            _log.info("context is ready", embedding_model=self._model.id, dimension=self._model.dimension)
        self._checked_at = now

    async def _warm_up(self, model: EmbeddingModel) -> None:
        """Search once: the first search of a cold index may take longer than a request would wait."""
        vector = np.full(model.dimension, model.dimension**-0.5, dtype=np.float32)
        await self._index.neighbours(vector, limit=1, threshold=0.0, since=self._clock.now())

    async def gather(
        self, text: str, traits: tuple[str, ...] = (), *, with_neighbours: bool, deadline: float = math.inf
    ) -> Gathered:
        """Return the context of `text` as far as it comes in time; raises nothing but cancellation.

        `deadline` is the request's own, a `Clock.monotonic` instant.
        """
        if not text:
            return Gathered(Context(traits=traits) if traits else EMPTY)
        limits, text = self._limits, text[: self._limits.max_chars]
        embedded = await self._guarded("embedder", partial(self._embed, text), limits.embed_timeout_s, deadline)
        if embedded is None:
            return Gathered(Context(traits=traits), degraded=("embedder",))
        vector, model = embedded
        if not with_neighbours or limits.neighbours == 0:
            return Gathered(Context(vector, (), traits), model.id)
        found = await self._guarded("qdrant", partial(self._search, vector, model), limits.search_timeout_s, deadline)
        if found is None:
            return Gathered(Context(vector, (), traits), model.id, ("qdrant",))
        return Gathered(Context(vector, found, traits, searched=True), model.id)

    async def _embed(self, text: str, within_s: float) -> tuple[Vector, EmbeddingModel]:
        model = self._model
        if model is None:
            raise DependencyError("embedder", "has not answered yet")
        with self._metrics.embed.time(), span("embed"):
            vectors = await self._embedder.embed([text], within_s=within_s)
        if vectors.shape != (1, model.dimension) or not math.isfinite(np.vdot(vectors, vectors)):
            raise DependencyError("embedder", f"answered the shape {vectors.shape} instead of (1, {model.dimension})")
        return vectors[0], model

    async def _search(self, vector: Vector, model: EmbeddingModel, within_s: float) -> tuple[Neighbour, ...]:
        if self._prepared != model:
            raise DependencyError("qdrant", "the collection is not ready yet")
        with self._metrics.search.time(), span("search"):
            return await self._index.neighbours(
                vector,
                limit=self._limits.neighbours,
                threshold=self._limits.threshold,
                since=self._clock.now() - self._limits.recency_s,
                within_s=within_s,
            )

    async def _guarded(
        self, dependency: str, call: Callable[[float], Awaitable[_T]], timeout_s: float, deadline: float
    ) -> _T | None:
        """Make the call within its deadline, and the request's; None where it failed or its breaker is open."""
        breaker, left_s = self._breakers[dependency], deadline - self._clock.monotonic()
        if left_s <= 0 or not breaker.allows():
            return None
        try:
            answer = await call(min(timeout_s, left_s))
        except DependencyError as error:
            if left_s >= timeout_s:  # else it was the request that had no time
                breaker.failed()
            self._checked_at = float("-inf")  # perhaps it came back with another model, or without its collection
            _log.debug("decision goes without context", dependency=dependency, error=str(error)[:300])
            return None
        breaker.succeeded()
        return answer
