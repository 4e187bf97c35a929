"""Decoding of what Redis keeps of a request: its hash, its story, and its vector.

Earlier versions kept all of it in the hash: the record in the field `record`, the vector in `vector`.
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Mapping

import numpy as np
from msgspec.structs import replace

from shared.bandit.arms import ArmId
from shared.bandit.context import Vector
from shared.bandit.decision import ArmView, Group
from shared.bandit.sources import Source
from shared.schemas.evaluation import Evaluation
from shared.schemas.events import EventKind, ledger_name, source_suffix
from shared.schemas.records import Evidence, Lesson, Outcome, Rating, RequestRecord, Status, StoredRequest
from shared.schemas.storage import Assignment, LoggedRequest, counted_kind
from shared.storage.ledger_codec import revision_of, sums_of
from shared.storage.redis_connection import Damaged
from shared.storage.story_codec import is_packed, lesson_of, packed, record_of

Fields = Mapping[str, bytes]

LOGGED = (
    "status", "owner", "created_at", "arm", "belief", "embedding_model", "score", "revision", "kind", "applied:outcome",
    "evaluation", "record", "vector",
)  # fmt: skip
"""Fields that `logged` reads."""

_ASSIGNED = re.compile(r"(\d{1,9})\.(\d{1,9}):(\d{1,15})")

_BELIEF = struct.Struct("<4d")

_SHORT = b"\xff\xff\xff\xff"
"""Start of a vector of bytes; as float32 it is NaN."""


def logged(
    own_id: str, row: list[bytes | None] | Damaged, story: bytes | None, vector: bytes | None
) -> LoggedRequest | None:
    """Return a request for the learner from its `LOGGED` fields, its story and its vector; None if unreadable."""
    if isinstance(row, Damaged):
        return None
    fields = {name: value for name, value in zip(LOGGED, row, strict=True) if value is not None}
    try:
        return _logged(own_id, fields, story, vector)
    except ValueError:
        return None


def _logged(own_id: str, fields: Fields, story: bytes | None, vector: bytes | None) -> LoggedRequest | None:
    lesson = _lesson(own_id, fields, fields.get("record", story))
    if lesson is None:
        return None
    assigned, score = _assigned(fields), fields.get("score")
    return LoggedRequest(
        record=lesson,
        vector=stored_vector(fields.get("vector", vector)),
        score=None if score is None else float(score),
        revision=int(fields.get("revision", 0)),
        assigned=assigned,
        evaluation=_evaluation(fields.get("evaluation")),
        counted=sums_of(fields.get("applied:outcome"), None if assigned is None else assigned.kind),
    )


def _lesson(own_id: str, fields: Fields, story: bytes | None) -> Lesson | None:
    """Return what is learned from: the story's, or when that is gone, what a rating needs."""
    if story is not None:
        lesson = lesson_of(story, own_id)
        return lesson if lesson.decision.views else believed(lesson, fields.get("belief", b""))
    if "status" not in fields or "arm" not in fields:
        return None
    arm = fields["arm"].decode()
    owner, created_at = fields["owner"].decode(), float(fields["created_at"])
    model = fields["embedding_model"].decode() if "embedding_model" in fields else None
    lesson = Lesson(own_id, owner, created_at, model, Evidence(), outcome_left(fields["status"].decode(), arm))
    return believed(lesson, fields.get("belief", b""))


def outcome_left(status: str, arm: ArmId) -> Outcome:
    """Return what is left of an outcome without a story. Raises ValueError."""
    return Outcome(Status(status), arm, None, "unknown", 0, 0, 0.0, 0.0, None, streamed=False, attempts=())


def believed(lesson: Lesson, belief: bytes) -> Lesson:
    """Return a lesson with the view of the arm that answered, and its group, as `packed_belief` keeps them."""
    if not belief:
        return lesson
    view = _view(lesson.outcome.arm, belief[: _BELIEF.size]) if len(belief) >= _BELIEF.size else None
    group = belief[_BELIEF.size :] if view is not None else belief
    views, weights = () if view is None else (view,), lesson.decision.weights
    return replace(lesson, decision=Evidence(views, weights, Group(group.decode()) if group else None))


def _view(arm: str, raw: bytes) -> ArmView:
    base, shift, labels, rating_sd = _BELIEF.unpack(raw)
    means, terms = (base, 0.0, 0.0, base, shift), (None, None, 0.0, 0.0)
    return ArmView(arm, *means, *terms, 0.0, 0.0, 0.0, labels, rating_sd)


def packed_belief(record: RequestRecord) -> bytes:
    """Return what a rating of a request is learned with: the view of the arm that answered, and the group."""
    view, group = record.decision.view(record.outcome.arm), record.decision.group
    told = b"" if view is None else _BELIEF.pack(view.base_quality, view.local_shift, view.labels, view.rating_sd)
    return told + (group or "").encode()


def stored_vector(raw: bytes | None) -> Vector | None:
    """Return a stored vector as float32."""
    if raw is None:
        return None
    if not raw.startswith(_SHORT):
        return np.frombuffer(raw, dtype="<f4").astype(np.float32, copy=False)
    steps = np.frombuffer(raw, dtype="i1", offset=len(_SHORT)).astype(np.float32)
    return steps / np.float32(max(float(np.linalg.norm(steps)), 1.0))


def short_vector(raw: bytes) -> bytes:
    """Return a unit vector in one byte a number, by which similarities are off by less than 0.01."""
    vector = np.frombuffer(raw, dtype="<f4")
    largest = float(np.abs(vector).max(initial=0.0))
    if raw.startswith(_SHORT) or not 0.0 < largest < np.inf:
        return raw
    return _SHORT + np.rint(vector * (127.0 / largest)).astype("i1").tobytes()


def stored_record(own_id: str, fields: Fields, story: bytes | None) -> RequestRecord | None:
    """Return the record of a request; None where its story is gone. Raises ValueError."""
    raw = fields.get("record", story)
    return None if raw is None else record_of(raw, own_id)


def stored(record: RequestRecord, fields: Fields) -> StoredRequest:
    """Return a request with its ratings and its evaluation, and what of them has been learned."""
    scores = {source: rating for source in Source if (rating := _rating(source, fields)) is not None}
    applied = {source: _applied(EventKind.FEEDBACK, fields, source) for source in Source}
    assigned = _assigned(fields)
    return StoredRequest(
        record=record,
        rating=scores.pop(Source.USER, None),
        outcome_applied=_applied(EventKind.OUTCOME, fields) > 0,
        rating_applied=applied.pop(Source.USER),
        evaluation=_evaluation(fields.get("evaluation")),
        evaluation_applied=_applied(EventKind.EVALUATION, fields) == 1,
        scores=scores,
        scores_applied=applied,
        kind=None if assigned is None else assigned.kind,
    )


def _applied(kind: EventKind, fields: Fields, source: Source = Source.USER) -> int:
    """Return the revision of an event that is in the sums; 0 for none."""
    name = f"applied:{ledger_name(kind, source)}"
    return revision_of(fields.get(name), fields.get(f"{name}:revision"))


def _rating(source: Source, fields: Fields) -> Rating | None:
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


def _assigned(fields: Fields) -> Assignment | None:
    """Return the kind of a request, also of one whose outcome a learner without assignments has counted."""
    assigned = parse_assignment(fields.get("kind"))
    if assigned is None and (kind := counted_kind(sums_of(fields.get("applied:outcome"), None) or ())) is not None:
        return Assignment(kind)
    return assigned


def short_forms(whole: Mapping[str, tuple[bytes | None, bytes | None]]) -> Mapping[str, tuple[bytes, bytes]]:
    """Return story and vector of requests as they are kept once learned; b"" where there is nothing to shorten."""
    found = {}
    for own_id, (story, vector) in whole.items():
        short = b""
        if story is not None and not is_packed(story):
            with contextlib.suppress(ValueError):  # one that cannot be read stays as it is
                short = packed(record_of(story, own_id))
        found[own_id] = short, short_vector(vector) if vector else b""
    return found
