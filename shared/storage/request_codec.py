"""Decoding of a request's hash."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import orjson

from shared.bandit.context import Vector
from shared.bandit.sources import Source
from shared.schemas.evaluation import Evaluation
from shared.schemas.events import source_suffix
from shared.schemas.records import Lesson, Rating, RequestRecord, StoredRequest
from shared.schemas.storage import Assignment, LoggedRequest, counted_kind
from shared.storage.redis_connection import Damaged

LOGGED = ("record", "vector", "score", "revision", "kind", "applied:outcome", "evaluation")
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
    raw, vector, score, revision, kind, ledger, evaluation = row
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
        evaluation=_evaluation(evaluation),
    )


def stored_vector(raw: bytes | None) -> Vector | None:
    """Return a stored vector as float32."""
    return None if raw is None else np.frombuffer(raw, dtype="<f4").astype(np.float32, copy=False)


def stored(record: RequestRecord, fields: Mapping[str, bytes]) -> StoredRequest:
    """Return a request with its ratings and its evaluation, and what of them has been learned."""
    scores = {source: rating for source in Source if (rating := _rating(source, fields)) is not None}
    applied = {source: int(fields.get(f"applied:feedback{source_suffix(source)}:revision", 0)) for source in Source}
    assigned = parse_assignment(fields.get("kind")) or _counted(fields.get("applied:outcome"))
    return StoredRequest(
        record=record,
        rating=scores.pop(Source.USER, None),
        outcome_applied="applied:outcome:revision" in fields,
        rating_applied=applied.pop(Source.USER),
        evaluation=_evaluation(fields.get("evaluation")),
        evaluation_applied=fields.get("applied:evaluation:revision") == b"1",
        scores=scores,
        scores_applied=applied,
        kind=None if assigned is None else assigned.kind,
    )


def _rating(source: Source, fields: Mapping[str, bytes]) -> Rating | None:
    of = source_suffix(source)
    if f"score{of}" not in fields:
        return None
    text = fields.get(f"text{of}")
    return Rating(
        score=float(fields[f"score{of}"]),
        revision=int(fields[f"revision{of}"]),
        text=None if text is None else text.decode("utf-8", "surrogatepass"),
        rated_at=float(fields[f"rated_at{of}"]),
        weight=float(fields.get(f"weight{of}", 1)),
    )


def _evaluation(raw: bytes | None) -> Evaluation | None:
    """Return a stored evaluation; None where there is none, or it cannot be read."""
    try:
        return None if raw is None else Evaluation.from_json(raw)
    except ValueError:
        return None


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
