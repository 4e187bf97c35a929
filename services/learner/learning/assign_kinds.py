"""Kind assigner: gives each request that is learned from its kind of prompt, once, in one order for all learners.

A batch is assigned in memory from the stored kinds and saved only if these are still the same; otherwise another
learner was faster, and the batch is assigned anew from what that one has left. The save also stores each request's
kind, so that a crash between assigning and applying loses nothing: a redelivered event finds its request assigned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np
from msgspec import structs

from shared.bandit.assigner import Assigner
from shared.bandit.kinds import Kinds, no_kinds
from shared.bandit.traits import EXTRA_DIMENSION, assign
from shared.errors import CorruptState, DependencyError
from shared.logs import get_logger
from shared.metrics import LearnerMetrics
from shared.ports import Clock, KindStore
from shared.schemas.imports import StoredImport
from shared.schemas.storage import Assignment, EmbeddingModel, LoggedRequest, first_generation, first_order

_TRIES = 100
"""Attempts of one batch. Of several learners that contend one always succeeds."""

_MODEL_FOR_S = 30.0
"""How long the embedder's answer about its model is used."""

_log = get_logger(__name__)

Assignable = LoggedRequest | StoredImport
AssignableT = TypeVar("AssignableT", LoggedRequest, StoredImport)


class AssignmentLog(Protocol):
    """Store of what is assigned."""

    async def load(self, own_ids: Sequence[str]) -> Sequence[Assignable | None]:
        """Return them with the kinds that they have by now."""


class KindAssigner:
    """Assigner of one process. It keeps the kinds in memory until another learner has changed them."""

    def __init__(
        self,
        *,
        store: KindStore,
        log: AssignmentLog,
        fetch_model: Callable[[], Awaitable[EmbeddingModel]],
        clock: Clock,
        metrics: LearnerMetrics,
    ) -> None:
        """Take `fetch_model`, which asks the embedder for its current model."""
        self._store = store
        self._log = log
        self._fetch_model = fetch_model
        self._clock = clock
        self._metrics = metrics
        self._kinds: Kinds | None = None
        self._known = False
        self._model: tuple[float, EmbeddingModel] | None = None
        self._damaged = False
        self._assigning = asyncio.Lock()

    async def prepare(self) -> None:
        """Read the kinds if they are not in memory, and make them of the clusters of an earlier version."""
        async with self._assigning:
            await self._load()

    async def assign(self, requests: list[AssignableT | None]) -> list[AssignableT | None]:
        """Return the requests with their kinds. One without a vector of the current embedding model has none."""
        if all(request is None or request.assigned is not None or request.vector is None for request in requests):
            return requests
        async with self._assigning:
            for _ in range(_TRIES):
                if not await self._load():
                    return requests
                before = self._kinds
                found = await self._assign(before, requests)
                if found is None:
                    return requests
                after, assigned = found
                self._known = False  # until it is certain what is stored
                if await self._store.save(before, after, assigned):
                    self._keep(after)
                    return _with(requests, assigned)
                requests = await self._again(requests)
        raise DependencyError("redis", "other learners assign kinds of prompt all the time")

    async def _load(self) -> bool:
        """Read the kinds if they are not in memory; return False if they are damaged."""
        if self._known:
            return True
        try:
            self._keep(await self._store.load())
        except CorruptState as error:
            if not self._damaged:
                _log.error("kinds of prompt cannot be read: requests are learned without one", reason=str(error))
            self._damaged = True
            return False
        self._damaged = False
        return True

    def _keep(self, kinds: Kinds | None) -> None:
        self._kinds, self._known = kinds, True
        if kinds is not None:
            self._metrics.cluster_epoch.set(kinds.generation)
            self._metrics.kinds.set(len(kinds.ids))

    async def _again(self, requests: list[AssignableT | None]) -> list[AssignableT | None]:
        """Return the requests with the kinds that another learner may have given them."""
        missing = [one.record.id for one in requests if one is not None and one.assigned is None]
        loaded = await self._log.load(missing)
        assigned = {one.record.id: one.assigned for one in loaded if one is not None and one.assigned is not None}
        return _with(requests, assigned)

    async def _assign(
        self, before: Kinds | None, requests: Sequence[Assignable | None]
    ) -> tuple[Kinds, Mapping[str, Assignment]] | None:
        """Return the kinds after the requests, and their assignments; None if there is nothing to assign."""
        waiting = {
            one.record.id: one for one in requests if one is not None and one.assigned is None and assignable(one)
        }
        if not waiting:
            return None
        start = await self._start(before, [model_of(one) for one in waiting.values()])
        pending = [one for one in waiting.values() if fits(start, model_of(one))]
        if not pending:
            return None
        return await asyncio.to_thread(assign_all, start, pending)

    async def _start(self, kinds: Kinds | None, models: Sequence[EmbeddingModel]) -> Kinds:
        """Return the kinds to begin with: those there are, or none of a new generation for another embedding model."""
        now = self._clock.now()
        if kinds is None:
            model = models[0]
            return replace(
                no_kinds(kind_dimension(model), generation=first_generation(now), model=model.id),
                order=first_order(now),
            )
        if all(fits(kinds, model) for model in models):
            return kinds
        # Old vectors may still come after a change: only the embedder knows which model is the current one.
        model = await self._current_model() or EmbeddingModel(kinds.model, kinds.dimension - EXTRA_DIMENSION)
        if fits(kinds, model) or model not in models:
            return kinds
        _log.info("kinds of prompt begin anew for another embedding model", model=model.id)
        return next_generation(kinds, model)

    async def _current_model(self) -> EmbeddingModel | None:
        now = self._clock.monotonic()
        if self._model is None or now - self._model[0] > _MODEL_FOR_S:
            try:
                self._model = now, await self._fetch_model()
            except DependencyError as error:
                _log.warning("the embedding model is not known", reason=str(error))
                return None
        return self._model[1]


def next_generation(kinds: Kinds, model: EmbeddingModel) -> Kinds:
    """Return no kinds, of the next generation; the order goes on."""
    empty = no_kinds(kind_dimension(model), generation=kinds.generation + 1, model=model.id)
    return replace(empty, order=kinds.order)


def assign_all(kinds: Kinds, pending: Sequence[Assignable]) -> tuple[Kinds, dict[str, Assignment]]:
    """Assign requests in order; about 80 us each."""
    assigner, order, assigned = Assigner(kinds), kinds.order, {}
    for one in pending:
        if one.vector is not None:
            order += 1
            # An example is shown with its id; an imported prompt cannot be looked up.
            example = one.record.id if isinstance(one, LoggedRequest) else ""
            kind = assign(assigner, one.vector, one.record.traits, example)
            assigned[one.record.id] = Assignment((kinds.generation, kind), order)
    return assigner.kinds, assigned


def assignable(request: Assignable) -> bool:
    """Whether a request has a unit vector and its model's name."""
    vector = request.vector
    if vector is None or request.record.embedding_model is None:
        return False
    return bool(abs(float(np.linalg.norm(vector)) - 1.0) < 0.01)  # false for what is not finite, too


def model_of(request: Assignable) -> EmbeddingModel:
    """Return the embedding model of an assignable request."""
    size = 0 if request.vector is None else len(request.vector)
    return EmbeddingModel(request.record.embedding_model or "", size)


def fits(kinds: Kinds, model: EmbeddingModel) -> bool:
    """Whether vectors of `model` can be compared with the kinds."""
    return kinds.model in ("", model.id) and kinds.dimension == kind_dimension(model)


def kind_dimension(model: EmbeddingModel) -> int:
    """Return the length of the kind vectors of a model's requests."""
    return model.dimension + EXTRA_DIMENSION


def _with(requests: list[AssignableT | None], assigned: Mapping[str, Assignment]) -> list[AssignableT | None]:
    return [
        structs.replace(one, assigned=assigned[one.record.id]) if one is not None and one.record.id in assigned else one
        for one in requests
    ]
