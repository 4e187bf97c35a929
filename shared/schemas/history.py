"""Entries of the history, and of the outbox that leads there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from shared.bandit.context import Vector
from shared.bandit.kinds import FORGET_EVERY, KEPT, Floats, Kinds
from shared.bandit.sources import Source
from shared.bandit.traits import EXTRA_DIMENSION
from shared.schemas.evaluation import Evaluation
from shared.schemas.events import EventKind, ledger_name
from shared.schemas.storage import Assignment, NewRecord, counted_kind


class PastRating(Struct, frozen=True):
    """One revision of the rating of one request by one source; `request_id` is our own id, `rated_at` Unix seconds.

    `score` is None if the rating was withdrawn. `weight` is below 1 for a step of a rated session.
    """

    request_id: str
    revision: int
    score: float | None
    text: str | None
    rated_at: float
    source: Source = Source.USER
    weight: float = 1.0


class Contribution(Struct, frozen=True):
    """Contribution of the outcome, the evaluation or a rating of a request to the sums, as of `revision`.

    `source` is that of the rating. `assigned` is the request's kind of prompt; None without one, and from versions
    before kinds.
    """

    request_id: str
    kind: EventKind
    revision: int
    sums: Mapping[str, int]
    assigned: Assignment | None = None
    source: Source = Source.USER

    @property
    def ledger(self) -> str:
        """Name under which it is kept."""
        return ledger_name(self.kind, self.source)


class PastRequest(Struct, frozen=True, eq=False):
    """A finished request with all ratings, by source and revision, its contributions (`ledger`), and its evaluation."""

    entry: NewRecord
    ratings: tuple[PastRating, ...] = ()
    ledger: tuple[Contribution, ...] = ()
    evaluation: Evaluation | None = None

    @property
    def rating(self) -> PastRating | None:
        """The valid rating by its user."""
        return self.rating_by(Source.USER)

    def rating_by(self, source: Source) -> PastRating | None:
        """Return the valid rating by a source: the last revision."""
        return next((each for each in reversed(self.ratings) if each.source is source), None)

    def revision_by(self, source: Source) -> int:
        """Return the newest known revision of the rating by a source; 0 for none."""
        rating, learned = self.rating_by(source), self.contribution(EventKind.FEEDBACK, source)
        return max(rating.revision if rating else 0, learned.revision if learned else 0)

    @property
    def assigned(self) -> Assignment | None:
        """Its kind of prompt, as its contributions say, also those of a learner without assignments."""
        for each in self.ledger:
            if each.assigned is not None:
                return each.assigned
        kind = counted_kind(name for each in self.ledger for name in each.sums)
        return None if kind is None else Assignment(kind)

    def contribution(self, kind: EventKind, source: Source = Source.USER) -> Contribution | None:
        """Return the contribution of its outcome, its evaluation, or its rating by a source."""
        return next((each for each in self.ledger if each.kind is kind and each.source is source), None)


class PastAssignment(Struct, frozen=True, eq=False):
    """A request that was assigned to a kind of prompt, with what the assignment was made by.

    `request_id` is empty for an imported prompt, which is no example of its kind.
    """

    request_id: str
    assigned: Assignment
    vector: Vector
    embedding_model: str
    traits: tuple[str, ...] = ()


class OldClusters(Struct, frozen=True, eq=False):
    """Cluster centres of versions before kinds of prompt: `centres` is (M, d) float32.

    `model` made the vectors ("" where it is not known).
    """

    epoch: int
    centres: NDArray[np.float32]
    model: str = ""

    def kinds(self, counts: Sequence[float] | Floats, *, order: int) -> Kinds:
        """Return them as kinds of prompt, of so many requests each: sums that were counted by them stay valid."""
        sizes = np.maximum(np.asarray(counts, dtype=np.float64), 1.0)
        number = len(self.centres)
        sums = np.zeros((number, self.centres.shape[1] + EXTRA_DIMENSION))  # they were found in requests' texts alone
        masses = sizes * min(1.0, FORGET_EVERY / (1 - KEPT) / sizes.sum())
        sums[:, : self.centres.shape[1]] = masses[:, None] * self.centres.astype(np.float64)
        return Kinds(self.epoch, self.model, order, number, tuple(range(number)), sizes, sums, masses=masses)


class Waiting(Struct, frozen=True, eq=False):
    """One entry of the outbox; empty if its request is gone or it cannot be read."""

    entry_id: str
    request_id: str
    request: NewRecord | None = None
    rating: PastRating | None = None
    contribution: Contribution | None = None
    evaluation: Evaluation | None = None

    @property
    def empty(self) -> bool:
        """Whether the entry has no content."""
        return all(part is None for part in (self.request, self.rating, self.contribution, self.evaluation))


class OutboxBound(Struct, frozen=True):
    """Bound of the outbox in entries and bytes. 0 entries: there is no outbox."""

    entries: int
    size: int = 268_435_456

    def __str__(self) -> str:
        """Return the form that the Lua scripts read."""
        return f"{self.entries}:{self.size}"


NO_HISTORY = OutboxBound(0)


class OutboxDepth(Struct, frozen=True):
    """`waiting`: entries not yet in the history; `age_s`: age of the oldest; `dropped`: entries refused as it was full.

    `size`: bytes of the waiting entries; fakes do not count them.
    """

    waiting: int
    age_s: float
    dropped: int
    size: int = 0
