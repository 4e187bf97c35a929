"""What the adapters leave of a request once it is learned, for the fakes."""

from __future__ import annotations

import numpy as np

from shared.bandit.context import Vector
from shared.schemas.events import EventKind
from shared.schemas.records import Evidence, Lesson, RequestRecord
from shared.schemas.storage import Assignment, counted_kind
from shared.storage.request_codec import believed, outcome_left, packed_belief, short_vector, stored_vector
from shared.storage.story_codec import lesson_of, packed
from tests.support.fakes.memory import Story


def short(vector: Vector | None) -> Vector | None:
    """Return the short form of a vector."""
    return None if vector is None else stored_vector(short_vector(np.asarray(vector, dtype="<f4").tobytes()))


def lesson_left(record: RequestRecord, *, packed_already: bool, archived: bool) -> Lesson:
    """Return what can be learned from a request: all of it, or what its packed story or its hash says."""
    if not packed_already:
        return Lesson.of(record)
    lesson = lesson_of(packed(record), record.id)
    if archived:
        outcome = outcome_left(record.outcome.status, record.outcome.arm)
        lesson = Lesson(record.id, record.owner, record.created_at, record.embedding_model, Evidence(), outcome)
    return believed(lesson, packed_belief(record))


def counted_in_ledger(story: Story) -> Assignment | None:
    """Return the kind of a request whose outcome a learner without assignments has counted."""
    kind = counted_kind(story.ledger.get(EventKind.OUTCOME, (0, {}))[1])
    return None if kind is None else Assignment(kind)
