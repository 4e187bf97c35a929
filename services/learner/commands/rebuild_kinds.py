"""Kinds of prompt from the history: the newest snapshot, and the assignments after it made again in their order.

A history of a version before kinds has clusters instead. They become kinds as they do in a running installation.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from msgspec import structs

from services.learner.learning.assign_kinds import Assignable, assign_all, assignable, fits, kind_dimension, model_of
from shared.bandit.assigner import Assigner
from shared.bandit.kinds import Kinds, no_kinds
from shared.bandit.sums import REQUESTS
from shared.bandit.traits import assign
from shared.ports import Clock, History
from shared.schemas.history import OldClusters, PastAssignment
from shared.schemas.storage import Assignment, EmbeddingModel, first_generation, first_order


class KindReplay:
    """The kinds so far. `began` is False where the history knows none; then each request is assigned."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.kinds: Kinds | None = None
        self.began = False

    async def read(self, history: History, *, since: float) -> None:
        """Make the assignments of the history again; `since` is the oldest request that counts."""
        self.kinds = await history.kinds()
        old = await history.old_clusters() if self.kinds is None else None
        first = True
        async for page in history.assignments(after=0 if self.kinds is None else self.kinds.order):
            if first and old is not None:
                self.kinds = await _kinds_of(old, history, since, order=page[0].assigned.order - 1)
            first = False
            self.kinds = await asyncio.to_thread(_assigned_again, self.kinds, page)
        if first and old is not None:
            self.kinds = await _kinds_of(old, history, since, order=first_order(self._clock.now()))
        self.began = self.kinds is not None

    def assign(self, request: Assignable) -> Assignment | None:
        """Assign a request that no learner has assigned; None without a vector that can be compared."""
        if not assignable(request):
            return None
        model, now = model_of(request), self._clock.now()
        if self.kinds is None:
            empty = no_kinds(kind_dimension(model), generation=first_generation(now), model=model.id)
            self.kinds = replace(empty, order=first_order(now))
        if not fits(self.kinds, model):
            return None
        self.kinds, assigned = assign_all(self.kinds, [request])
        return assigned[request.record.id]


def _assigned_again(kinds: Kinds | None, page: Sequence[PastAssignment]) -> Kinds:
    """Return the kinds after these assignments."""
    assigner, last = Assigner(kinds or no_kinds(0)), -1
    for past in page:
        generation, order = past.assigned.kind[0], past.assigned.order
        if kinds is None or generation != kinds.generation:
            model = EmbeddingModel(past.embedding_model, past.vector.shape[0])
            kinds = no_kinds(kind_dimension(model), generation=generation, model=model.id)
            assigner = Assigner(replace(kinds, order=order - 1))
        elif last != order - 1:  # others may have been assigned, and lost before the history had them
            assigner = Assigner(replace(assigner.kinds, order=order - 1))
        assign(assigner, past.vector, past.traits, past.request_id)
        last = order
    return assigner.kinds


async def _kinds_of(old: OldClusters, history: History, since: float, *, order: int) -> Kinds:
    """Return the kinds that clusters become, each of as many requests as were counted by it."""
    counted, dimension, model = Counter[str](), old.centres.shape[1], ""
    async for page in history.read(since=since):
        for past in page:
            vector, earlier = past.entry.vector, not any(each.assigned for each in past.ledger)
            if earlier and vector is not None and len(vector) == dimension:
                model = past.entry.record.embedding_model or model
            for contribution in past.ledger if earlier else ():
                counted.update({name: n for name, n in contribution.sums.items() if name.startswith(REQUESTS)})
    counts = [counted[f"{REQUESTS}@{old.epoch}.{cluster}"] for cluster in range(len(old.centres))]
    return structs.replace(old, model=model).kinds(counts, order=order)
