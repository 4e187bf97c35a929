"""What the history keeps of the past, and what is on its way there."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from shared.schemas.events import EventKind
from shared.schemas.storage import NewRecord


class PastRating(Struct, frozen=True):
    """One revision of the rating of one request; `request_id` is our own id, `rated_at` Unix seconds.

    `score` is None where the rating was taken back.
    """

    request_id: str
    revision: int
    score: float | None
    text: str | None
    rated_at: float


class Contribution(Struct, frozen=True):
    """What the outcome or the rating of a request has added to the sums, as of that revision."""

    request_id: str
    kind: EventKind
    revision: int
    sums: Mapping[str, int]

    @property
    def age(self) -> tuple[int, int]:
        """Revision, and epoch of the clusters it is counted by (0 for none): of two, the larger one is the newer."""
        epochs = [int(name.partition("@")[2].partition(".")[0]) for name in self.sums if "@" in name]
        return self.revision, max(epochs, default=0)


class PastRequest(Struct, frozen=True, eq=False):
    """A finished request, every revision of its rating, in order, and what has been learned from it (its ledger)."""

    entry: NewRecord
    ratings: tuple[PastRating, ...] = ()
    ledger: tuple[Contribution, ...] = ()

    @property
    def rating(self) -> PastRating | None:
        """The one that counts: the last."""
        return self.ratings[-1] if self.ratings else None

    @property
    def revision(self) -> int:
        """The newest revision of its rating that anything is known of; 0 for none."""
        learned = self.contribution(EventKind.FEEDBACK)
        return max(self.rating.revision if self.rating else 0, learned.revision if learned else 0)

    def contribution(self, kind: EventKind) -> Contribution | None:
        """Return what its outcome, or its rating, has added."""
        return next((each for each in self.ledger if each.kind is kind), None)


class Waiting(Struct, frozen=True, eq=False):
    """One entry of the outbox. It holds nothing where its request is gone or it cannot be read."""

    entry_id: str
    request_id: str
    request: NewRecord | None = None
    rating: PastRating | None = None
    contribution: Contribution | None = None

    @property
    def empty(self) -> bool:
        """Whether it holds nothing."""
        return self.request is None and self.rating is None and self.contribution is None


class OutboxBound(Struct, frozen=True):
    """How much may wait for the history: entries and their bytes. No entries: none is kept."""

    entries: int
    size: int = 268_435_456

    def __str__(self) -> str:
        """Return it as the scripts read it."""
        return f"{self.entries}:{self.size}"


NO_HISTORY = OutboxBound(0)


class OutboxDepth(Struct, frozen=True):
    """`waiting`: entries not yet in the history; `age_s`: age of the oldest; `dropped`: entries that found it full.

    `size`: bytes of what waits, which a fake does not count.
    """

    waiting: int
    age_s: float
    dropped: int
    size: int = 0
