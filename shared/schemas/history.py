"""What the history keeps of the past, and what is on its way there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared.schemas.storage import NewRecord


@dataclass(frozen=True, slots=True)
class PastRating:
    """One revision of the rating of one request; `request_id` is our own id, `rated_at` Unix seconds.

    `score` is None where the rating was taken back.
    """

    request_id: str
    revision: int
    score: float | None
    text: str | None
    rated_at: float


@dataclass(frozen=True, slots=True, eq=False)
class PastRequest:
    """A finished request and every revision of its rating, in order."""

    entry: NewRecord
    ratings: tuple[PastRating, ...] = ()

    @property
    def rating(self) -> PastRating | None:
        """The one that counts: the last."""
        return self.ratings[-1] if self.ratings else None


@dataclass(frozen=True, slots=True, eq=False)
class RestoredRequest:
    """A past request with its ledger: what outcome and rating have added to the sums, None for what adds nothing."""

    past: PastRequest
    outcome_sums: Mapping[str, int] | None
    rating_sums: Mapping[str, int] | None


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """One entry of the outbox: a request or a rating; neither where the request is gone or cannot be read."""

    entry_id: str
    request_id: str
    request: NewRecord | None = None
    rating: PastRating | None = None


@dataclass(frozen=True, slots=True)
class OutboxDepth:
    """`waiting`: entries not yet in the history; `age_s`: age of the oldest; `dropped`: entries that found it full."""

    waiting: int
    age_s: float
    dropped: int
