"""Events of the stream. They carry ids only; the facts are in the request's hash, so redelivery is safe."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from shared.bandit.sources import Source

FIRST_VERSION = 1
"""Version of outcomes and users' ratings, which learners of all releases read."""

EVENT_VERSION = 2
"""Version of evaluations and scores of other sources, and the newest that is read. Older learners leave such events."""

WITHOUT_SOURCE_REVISION, FORGOTTEN_REVISION = 2, 3
"""Revisions of outcomes and evaluations, applied as 1: without the scores of a source, and removed from the sums."""

NO_ENTRY = "0-1"
"""Entry id of an effect without an event: no stream has it, so nothing is acknowledged."""


class EventKind(StrEnum):
    """Kind of an event."""

    OUTCOME = "outcome"
    FEEDBACK = "feedback"
    EVALUATION = "evaluation"
    UNKNOWN = "unknown"  # read only: of a newer version, or damaged


class Event(Struct, frozen=True):
    """One entry of the stream.

    Attributes:
        entry_id: the stream's id of the entry.
        kind: outcome, feedback or evaluation.
        request_id: our own id of the request.
        revision: 1 for an outcome or an evaluation; for feedback the revision of the rating by `source`.
        version: wire version; a learner leaves versions that it does not know to a newer one.
        deliveries: number of deliveries to a consumer, including this one.
        score: feedback only.
        source: of the score, feedback only.
        weight: of the score, below 1 for a step of a rated session.
    """

    entry_id: str
    kind: EventKind
    request_id: str
    revision: int
    version: int = FIRST_VERSION
    deliveries: int = 1
    score: float | None = None
    source: Source = Source.USER
    weight: float = 1.0

    @property
    def ledger(self) -> str:
        """Name under which its contribution is kept."""
        return ledger_name(self.kind, self.source)


def ledger_name(kind: EventKind, source: Source = Source.USER) -> str:
    """Return the name of a contribution: `outcome`, `evaluation`, `feedback` by users, or `feedback:<source>`."""
    return f"{kind}{source_suffix(source)}"


def parse_ledger_name(name: str) -> tuple[EventKind, Source]:
    """Return kind and source of a contribution. Raises ValueError."""
    kind, _, source = name.partition(":")
    return EventKind(kind), Source(source or Source.USER)


def source_suffix(source: Source) -> str:
    """Return what follows the stored names of a source's rating; nothing for users."""
    return "" if source is Source.USER else f":{source}"
