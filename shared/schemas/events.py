"""Events of the stream. They carry ids only; the facts are in the request's hash, so redelivery is safe."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

EVENT_VERSION = 1


class EventKind(StrEnum):
    """Kind of an event."""

    OUTCOME = "outcome"
    FEEDBACK = "feedback"
    UNKNOWN = "unknown"  # read only: of a newer version, or damaged


class Event(Struct, frozen=True):
    """One entry of the stream.

    Attributes:
        entry_id: the stream's id of the entry.
        kind: outcome or feedback.
        request_id: our own id of the request.
        revision: 1 for an outcome; the rating's revision for feedback.
        version: wire version; a learner leaves versions that it does not know to a newer one.
        deliveries: number of deliveries to a consumer, including this one.
        score: feedback only.
    """

    entry_id: str
    kind: EventKind
    request_id: str
    revision: int
    version: int = EVENT_VERSION
    deliveries: int = 1
    score: float | None = None
