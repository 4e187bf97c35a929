"""Entries of the history, and of the outbox that leads there."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from shared.schemas.events import EventKind
from shared.schemas.storage import NewRecord


class PastRating(Struct, frozen=True):
    """One revision of the rating of one request; `request_id` is our own id, `rated_at` Unix seconds.

    `score` is None if the rating was withdrawn.
    """

    request_id: str
    revision: int
    score: float | None
    text: str | None
    rated_at: float


class Contribution(Struct, frozen=True):
    """Contribution of the outcome or the rating of a request to the sums, as of `revision`."""

    request_id: str
    kind: EventKind
    revision: int
    sums: Mapping[str, int]

    @property
    def age(self) -> tuple[int, int]:
        """Sort key: (revision, epoch of its clusters or 0); of two contributions the larger one is newer."""
        epochs = [int(name.partition("@")[2].partition(".")[0]) for name in self.sums if "@" in name]
        return self.revision, max(epochs, default=0)


class PastRequest(Struct, frozen=True, eq=False):
    """A finished request with all revisions of its rating, in order, and its contributions (`ledger`)."""

    entry: NewRecord
    ratings: tuple[PastRating, ...] = ()
    ledger: tuple[Contribution, ...] = ()

    @property
    def rating(self) -> PastRating | None:
        """The valid rating: the last revision."""
        return self.ratings[-1] if self.ratings else None

    @property
    def revision(self) -> int:
        """The newest known revision of its rating; 0 for none."""
        learned = self.contribution(EventKind.FEEDBACK)
        return max(self.rating.revision if self.rating else 0, learned.revision if learned else 0)

    def contribution(self, kind: EventKind) -> Contribution | None:
        """Return the contribution of its outcome or its rating."""
        return next((each for each in self.ledger if each.kind is kind), None)


class Waiting(Struct, frozen=True, eq=False):
    """One entry of the outbox; empty if its request is gone or it cannot be read."""

    entry_id: str
    request_id: str
    request: NewRecord | None = None
    rating: PastRating | None = None
    contribution: Contribution | None = None

    @property
    def empty(self) -> bool:
        """Whether the entry has no content."""
        return self.request is None and self.rating is None and self.contribution is None


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
