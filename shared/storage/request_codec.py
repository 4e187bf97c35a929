"""Decoding of a request's hash."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import orjson

from shared.bandit.context import Vector
from shared.schemas.records import Lesson, Rating, RequestRecord, StoredRequest
from shared.schemas.storage import Assignment, LoggedRequest, counted_kind
from shared.storage.redis_connection import Damaged

LOGGED = ("record", "vector", "score", "revision", "kind", "applied:outcome")
"""Fields that `logged` reads."""

_ASSIGNED = re.compile(r"(\d{1,9})\.(\d{1,9}):(\d{1,15})")


def parse_record(raw: bytes) -> RequestRecord | None:
    """Return a stored record; None if it is unreadable."""
    try:
        return RequestRecord.from_json(raw)
    except ValueError:
        return None


def logged(row: list[bytes | None] | Damaged) -> LoggedRequest | None:
    """Return a request for the learner from its `LOGGED` fields; None if it is unreadable."""
    if isinstance(row, Damaged):
        return None
    raw, vector, score, revision, kind, ledger = row
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
        assigned=parse_assignment(kind) or _counted(ledger),
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


def assignment_text(assigned: Assignment) -> str:
    """Return the field `kind` of a request: generation, id and order."""
    generation, kind = assigned.kind
    return f"{generation}.{kind}:{assigned.order}"


def parse_assignment(raw: bytes | str | None) -> Assignment | None:
    """Read the text of `assignment_text`; None where there is none, or it cannot be read."""
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw or ""
    match = _ASSIGNED.fullmatch(text)
    return None if match is None else Assignment((int(match[1]), int(match[2])), int(match[3]))


def _counted(ledger: bytes | None) -> Assignment | None:
    """Return the kind of a request whose outcome a learner without assignments has counted."""
    try:
        kind = counted_kind(orjson.loads(ledger or b"{}"))
    except (ValueError, TypeError, AttributeError):
        return None
    return None if kind is None else Assignment(kind)
