"""Assignment of requests to kinds of prompt, one after another; the rule is in `kinds.py`."""

from __future__ import annotations

import numpy as np

from shared.bandit.context import Vector
from shared.bandit.kinds import (
    EXAMPLES,
    FORGET_EVERY,
    KEPT,
    LEAST_MASS,
    MAX_KINDS,
    MOST_ALIASES,
    Example,
    Kinds,
    belongs,
    join_cost,
    merge_costs,
    unit_rows,
)


class Assigner:
    """Assigns requests to kinds, one after another; `kinds` is the state so far.

    In double precision throughout, so that where a state was stored and read again in between cannot change a choice.
    """

    def __init__(self, kinds: Kinds) -> None:
        size, dimension = len(kinds.ids), kinds.dimension
        self._kinds = kinds
        self._order, self._next_id = kinds.order, kinds.next_id
        self._ids = list(kinds.ids)
        self._counts, self._masses = np.zeros(MAX_KINDS), np.zeros(MAX_KINDS)
        self._sums = np.zeros((MAX_KINDS, dimension))
        self._centres = np.zeros((MAX_KINDS, dimension))
        self._counts[:size], self._masses[:size] = kinds.counts, kinds.masses
        self._sums[:size], self._centres[:size] = kinds.sums, unit_rows(kinds.sums)
        self._assigned = int(kinds.counts.sum())
        # Row by row as `_recentre` does: a product of the whole may differ in its last bit, and so choose another pair.
        self._cosines = np.array([self._centres @ centre for centre in self._centres])
        self._merged = dict(kinds.merged)
        self._examples = dict(kinds.examples)

    def assign(self, vector: Vector, request_id: str = "", traits: int = 0) -> int:
        """Count a request in its kind, and return the kind's id. `vector` is a unit vector of the right size."""
        row, cosine = self._row_for(vector, traits)
        if row == len(self._ids):
            self._ids.append(self._next_id)
            self._next_id += 1
        self._order += 1
        self._counts[row] += 1
        self._masses[row] += 1
        self._sums[row] += vector
        self._recentre(row)
        self._assigned += 1
        if self._assigned % FORGET_EVERY == 0:  # centres stay
            fading = np.where(self._masses > LEAST_MASS, KEPT, 1.0)
            self._masses *= fading
            self._sums *= fading[:, None]
        kind = self._ids[row]
        self._keep_example(kind, Example(request_id, round(cosine, 4)))
        return kind

    def _row_for(self, vector: Vector, traits: int) -> tuple[int, float]:
        """Return the row to count a request in, one behind the last for a new kind, and the cosine to its centre.

        The cosine is 0 for a new kind, which has no centre yet: as an example the request gives way to later ones.
        """
        size = len(self._ids)
        if not size:
            return 0, 0.0
        cosines = self._centres[:size] @ vector
        nearest = int(cosines.argmax())
        cosine = float(cosines[nearest])
        if belongs(vector, self._centres[nearest], cosine, traits):
            return nearest, cosine
        if size < MAX_KINDS:
            return size, 0.0
        costs = merge_costs(self._masses, self._cosines)
        first, second = divmod(int(costs.argmin()), size)
        if costs[first, second] >= join_cost(float(self._masses[nearest]), cosine):
            return nearest, cosine
        self._merge(first, second)
        return size - 1, 0.0

    def _merge(self, first: int, second: int) -> None:
        """Merge the smaller of two kinds into the larger, and free the last row."""
        into, gone = (first, second) if self._counts[first] >= self._counts[second] else (second, first)
        self._merged[self._ids[gone]] = self._ids[into]
        if len(self._merged) > MOST_ALIASES:
            self._shorten()
        for example in self._examples.pop(self._ids[gone], ()):
            self._keep_example(self._ids[into], example)
        self._sums[into] += self._sums[gone]
        self._counts[into] += self._counts[gone]
        self._masses[into] += self._masses[gone]
        self._recentre(into)
        last = len(self._ids) - 1
        if gone != last:
            for values in (self._sums, self._counts, self._masses, self._centres, self._cosines):
                values[gone] = values[last]
            self._cosines[:, gone] = self._cosines[gone]
            self._ids[gone] = self._ids[last]
        self._ids.pop()
        self._counts[last], self._masses[last], self._sums[last], self._centres[last] = 0.0, 0.0, 0.0, 0.0

    def _shorten(self) -> None:
        """Let each alias name the kind of today, and forget the older half of them."""
        for kind in self._merged:
            root = kind
            while root in self._merged:
                root = self._merged[root]
            self._merged[kind] = root
        self._merged = {kind: self._merged[kind] for kind in sorted(self._merged)[MOST_ALIASES // 2 :]}

    def _recentre(self, row: int) -> None:
        self._centres[row] = unit_rows(self._sums[row : row + 1])[0]
        self._cosines[row] = self._cosines[:, row] = self._centres @ self._centres[row]

    def _keep_example(self, kind: int, example: Example) -> None:
        if not example.request_id:
            return
        kept = sorted((*self._examples.get(kind, ()), example), key=lambda one: (-one.similarity, one.request_id))
        self._examples[kind] = tuple(kept[:EXAMPLES])

    @property
    def kinds(self) -> Kinds:
        """The state after the requests so far."""
        size = len(self._ids)
        return Kinds(
            self._kinds.generation,
            self._kinds.model,
            self._order,
            self._next_id,
            tuple(self._ids),
            self._counts[:size].copy(),
            self._sums[:size].copy(),
            dict(self._merged),
            dict(self._examples),
            self._masses[:size].copy(),
        )
