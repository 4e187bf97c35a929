"""Decoding of a request's hash."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from shared.bandit.context import Vector
from shared.schemas.records import Lesson, Rating, RequestRecord, StoredRequest
from shared.schemas.storage import LoggedRequest
from shared.storage.redis_connection import Damaged


def parse_record(raw: bytes) -> RequestRecord | None:
    """Return a stored record; None if it is unreadable."""
    try:
        return RequestRecord.from_json(raw)
    except ValueError:
        return None


def logged(row: list[bytes | None] | Damaged) -> LoggedRequest | None:
    """Return a request for the learner from (record, vector, score, revision); None if it is unreadable."""
    if isinstance(row, Damaged):
        return None
    raw, vector, score, revision = row
    if raw is None:
        return None
    try:
        record = Lesson.from_json(raw)
    except ValueError:
        return None
    return LoggedRequest(
        record=record,
        vector=stored_vector(vector),
        score=None if score is None else float(score),
        revision=int(revision or 0),
    )


def stored_vector(raw: bytes | None) -> Vector | None:
    """Return a stored vector as float32."""
    return None if raw is None else np.frombuffer(raw, dtype="<f4").astype(np.float32, copy=False)


def stored(record: RequestRecord, fields: Mapping[str, bytes]) -> StoredRequest:
    """Return a request with its rating, and which of both has been learned."""
    rating = None
    if "score" in fields:
        text = fields.get("text")
        rating = Rating(
            score=float(fields["score"]),
            revision=int(fields["revision"]),
            text=None if text is None else text.decode("utf-8", "surrogatepass"),
            rated_at=float(fields["rated_at"]),
        )
    return StoredRequest(
        record=record,
        rating=rating,
        outcome_applied="applied:outcome:revision" in fields,
        rating_applied=int(fields.get("applied:feedback:revision", 0)),
    )
