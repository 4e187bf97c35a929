"""Kinds of prompt: online clusters of the traffic's vectors that open, move and merge as requests come.

Each kind has a count c and a sum v of unit vectors; its centre is v / |v|. A request x is assigned as follows:

    join    nearest kind j, where x belongs to it, or where nothing cheaper is possible
    open    a kind of its own, while there are fewer than MAX_KINDS
    merge   where there are MAX_KINDS: the pair (i, k) of least 2 c_i c_k / (c_i + c_k) (1 - cos(i, k)) becomes one
            kind, and x opens its own, if that costs less than joining, 2 c_j / (c_j + 1) (1 - cos(x, j))

A vector has a text part, and a part of the request's traits (`traits.py`). The nearest kind is that of the largest
cosine of the whole. x belongs to it where the texts' cosine is at least OPEN_BELOW, and the traits' SAME_TRAITS. The
text alone decides where traits agree, so that those that all requests have, such as one system prompt, change nothing.

c is the mass: every FORGET_EVERY requests it and v are multiplied by KEPT, so that they stand for the last 2,000
requests or so. Kinds that traffic has left become light, cheap to merge, and make room for new ones. Where traffic
stays as diverse as it was, all 64 kinds stay heavy, and a new topic joins those near it until most of their requests
are its own.

Both costs are what the sum of squared distances to the centres grows by (Ward 1963), up to a factor. After a merge the
smaller kind's id is an alias of the larger one's. Learned sums stay under the id they were counted by and are added
when they are read, so that no request is ever counted anew. The result depends on the order of the requests and on
nothing else: the same requests in the same order give the same kinds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.bandit.context import Vector

Floats = NDArray[np.float64]

MAX_KINDS = 64
OPEN_BELOW = 0.5
"""Cosine of the text parts below which a request opens a kind while there is room."""

REACH = 0.5
"""Distance 1 - cos over which what is known of a kind fades by e for a prompt of a new one."""

SAME_TRAITS = 0.5
"""Cosine of the trait parts below which it does, too. A system prompt that varies has some .7 with itself."""

_FEW_TRAITS = 0.25
"""Share of the traits in a centre's squared norm, up to which a request without traits may belong to the kind."""

FORGET_EVERY, KEPT = 250, 0.875
"""The masses of all kinds sum to 250 / (1 - .875) = 2,000 at most."""

LEAST_MASS = 1e-6
"""A kind fades no further, so that its centre stays defined."""

MOST_ALIASES = 4096
"""Ids of merged kinds that are remembered. What was counted by older ones counts as of kind unknown."""

CENTRAL = 0.6
"""Cosine from which on a prompt is typical of its kind; one of a new topic that joins a kind rarely is."""

EXAMPLES = 3
"""Requests that a kind keeps as examples: those nearest to the centre it had when they came."""

KindId = tuple[int, int]
"""Generation and number of a kind. A generation ends when vectors become incomparable: another embedding model."""


class Place(NamedTuple):
    """Where a prompt falls among the kinds.

    Attributes:
        row: of the nearest kind.
        nearness: 1 where the prompt belongs to it; below 1 where it would open a kind of its own: exp(-(1 - cos) / .5).
        central: whether it is typical of the kind.
    """

    row: int
    nearness: float
    central: bool = True


@dataclass(frozen=True, slots=True)
class Example:
    """A request of a kind, and its cosine to the centre when it was assigned: 0 for the one that opened the kind."""

    request_id: str
    similarity: float


@dataclass(frozen=True, slots=True, eq=False)
class Kinds:
    """Kinds of prompt at one moment.

    Attributes:
        generation: of the ids.
        model: embedding model of the vectors ("" where it is not known).
        order: requests assigned so far; grows by one with each.
        next_id: id of the next kind.
        ids: of the kinds, in the order of the rows.
        counts: requests of each, (M,).
        sums: of their unit vectors, (M, d), recent ones with more weight.
        merged: id of a merged kind to the id it was merged into (which may be merged itself).
        examples: by id.
        masses: weights of the requests in `sums`, (M,); those of the counts where none are given.
    """

    generation: int
    model: str
    order: int
    next_id: int
    ids: tuple[int, ...]
    counts: Floats
    sums: Floats
    merged: Mapping[int, int] = field(default_factory=dict)
    examples: Mapping[int, tuple[Example, ...]] = field(default_factory=dict)
    masses: Floats = field(default_factory=lambda: np.zeros(0))
    centres: NDArray[np.float32] = field(init=False)
    _spare: float = field(init=False)

    def __post_init__(self) -> None:
        """Derive the centres, and the cost of the cheapest merge."""
        if self.masses.shape != self.counts.shape:
            object.__setattr__(self, "masses", self.counts)
        exact = unit_rows(self.sums)
        object.__setattr__(self, "centres", exact.astype(np.float32))
        full = len(self.ids) >= MAX_KINDS
        cheapest = float(merge_costs(self.masses, exact @ exact.T).min()) if full else math.inf
        object.__setattr__(self, "_spare", cheapest)

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return int(self.sums.shape[1])

    def place(self, vector: Vector | None, traits: int = 0) -> Place | None:
        """Return where a prompt falls; None where there is no vector of the right size, or no kind.

        `traits` is the length of the vector's trait part.
        """
        if vector is None or not self.ids or vector.shape != (self.dimension,):
            return None
        cosines = self.centres @ vector
        row = int(cosines.argmax())
        cosine = float(cosines[row])
        opens = not belongs(vector, self.centres[row], cosine, traits)
        if opens and len(self.ids) >= MAX_KINDS:
            opens = self._spare < join_cost(float(self.masses[row]), cosine)
        return Place(row, nearness(cosine) if opens else 1.0, cosine >= CENTRAL and not opens)

    def root(self, kind: int) -> int:
        """Return the id that `kind` goes by today."""
        while kind in self.merged:
            kind = self.merged[kind]
        return kind


def belongs(vector: Vector, centre: NDArray[np.floating], cosine: float, traits: int) -> bool:
    """Return whether a request belongs to the kind of `centre`, whose cosine it has; the last `traits` are traits."""
    if not traits:
        return cosine >= OPEN_BELOW
    own, other = vector[-traits:], centre[-traits:]
    product, own_share, other_share = float(own @ other), float(own @ own), float(other @ other)
    if own_share:
        same = other_share > 0 and product >= SAME_TRAITS * math.sqrt(own_share * other_share)
    else:
        same = other_share <= _FEW_TRAITS
    return same and cosine - product >= OPEN_BELOW * math.sqrt((1.0 - own_share) * max(1.0 - other_share, 0.0))


def nearness(cosine: float) -> float:
    """Return how much of what is known of a kind holds at that cosine from its centre."""
    return math.exp((min(cosine, 1.0) - 1.0) / REACH)


def unit_rows(sums: Floats) -> Floats:
    """Return the rows scaled to norm 1."""
    return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12), dtype=np.float64)


def merge_costs(masses: Floats, cosines: Floats) -> Floats:
    """Return the cost of merging each pair, (M, M); infinite on the diagonal."""
    sizes = masses[:, None]
    costs = 2 * sizes * masses / (sizes + masses) * (1.0 - cosines)
    np.fill_diagonal(costs, math.inf)
    return np.asarray(costs, dtype=np.float64)


def join_cost(mass: float, cosine: float) -> float:
    """Return the cost of counting a request in a kind of that mass, at that cosine."""
    return 2 * mass / (mass + 1) * (1.0 - cosine)


def no_kinds(dimension: int, *, generation: int = 1, model: str = "") -> Kinds:
    """Return the state before the first request."""
    return Kinds(generation, model, 0, 0, (), np.zeros(0), np.zeros((0, dimension)))
