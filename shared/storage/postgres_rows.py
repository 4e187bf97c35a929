"""Requests as rows, and rows as requests: `request_rows` and `past_request` are each other's inverse."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shared.bandit.decision import ArmView, Decision, DecisionKind, NeighbourUse, Weights
from shared.schemas.history import PastRating, PastRequest
from shared.schemas.records import Attempt, Outcome, RequestRecord, Status
from shared.schemas.storage import NewRecord

Row = Mapping[str, Any]

VIEW = {
    "arms": "arm",
    "propensities": "propensity",
    "qualities": "quality",
    "quality_sds": "quality_sd",
    "draw_sds": "draw_sd",
    "base_qualities": "base_quality",
    "local_shifts": "local_shift",
    "costs_usd": "cost_usd",
    "latencies_s": "latency_s",
    "cost_terms": "cost_term",
    "speed_terms": "speed_term",
    "utilities": "utility",
    "draws": "draw",
    "labels": "labels",
}
"""Column of `decisions` to the attribute of `ArmView` that it lists, one entry an arm."""

NEIGHBOUR = {
    "neighbour_ids": "request_id",
    "neighbour_arms": "arm",
    "neighbour_scores": "score",
    "neighbour_similarities": "similarity",
    "neighbour_weights": "weight",
}
"""The same for `NeighbourUse`, one entry a neighbour."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "requests": (
        "id", "public_id", "owner", "created_s", "requested_model", "embedding_model", "vector", "prompt",
    ),
    "decisions": (
        "request_id", "kind", "ranked", "propensity", "confidence", "reason", "policy", "snapshot", "settings_hash",
        "cluster_epoch", "cluster", "degraded", "quality_weight", "latency_weight", "cost_weight", *VIEW, *NEIGHBOUR,
    ),
    "outcomes": (
        "request_id", "status", "arm", "cost_usd", "cost_source", "prompt_tokens", "completion_tokens", "overhead_s",
        "upstream_s", "first_token_s", "streamed",
    ),
    "attempts": ("request_id", "number", "arm", "error", "duration_s", "spent"),
    "feedback": ("request_id", "revision", "score", "feedback_text", "rated_s"),
}  # fmt: skip
"""What is written, by table; generated columns and defaults are not."""


@dataclass(frozen=True, slots=True)
class RequestRows:
    """The rows of one request."""

    request: Sequence[Any]
    decision: Sequence[Any]
    outcome: Sequence[Any]
    attempts: Sequence[Sequence[Any]]


def request_rows(entry: NewRecord) -> RequestRows:
    """Return the rows of a request. Raises ValueError where its id is none of ours."""
    record, own_id = entry.record, uuid.UUID(entry.record.id)
    vector = None if entry.vector is None else np.asarray(entry.vector, dtype="<f4").tobytes()
    request = (
        own_id, record.public_id, record.owner, record.created_at, record.requested_model, record.embedding_model,
        vector, entry.prompt,
    )  # fmt: skip
    outcome = record.outcome
    ended = (
        own_id, outcome.status.value, outcome.arm, outcome.cost_usd, outcome.cost_source, outcome.prompt_tokens,
        outcome.completion_tokens, outcome.overhead_s, outcome.upstream_s, outcome.first_token_s, outcome.streamed,
    )  # fmt: skip
    attempts = [
        (own_id, number, attempt.arm, attempt.error, attempt.duration_s, attempt.spent)
        for number, attempt in enumerate(outcome.attempts, start=1)
    ]
    decision = _decision(own_id, record)
    return RequestRows(_plain(request), _plain(decision), _plain(ended), [_plain(attempt) for attempt in attempts])


def rating_row(rating: PastRating) -> Sequence[Any]:
    """Return the row of a rating. Raises ValueError where its request's id is none of ours."""
    values = (uuid.UUID(rating.request_id), rating.revision, rating.score, rating.text, rating.rated_at)
    return _plain(values)


def past_request(row: Row, attempts: Iterable[Row], ratings: Iterable[Row]) -> PastRequest:
    """Return the request of a row of requests, decisions and outcomes joined, its attempts and its ratings."""
    outcome = Outcome(
        status=Status(row["status"]),
        arm=row["arm"],
        attempts=tuple(Attempt(each["arm"], each["error"], each["duration_s"], each["spent"]) for each in attempts),
        **{name: row[name] for name in COLUMNS["outcomes"][3:]},
    )
    record = RequestRecord(
        id=str(row["id"]),
        public_id=row["public_id"],
        owner=row["owner"],
        created_at=row["created_s"],
        requested_model=row["requested_model"],
        embedding_model=row["embedding_model"],
        decision=_past_decision(row),
        outcome=outcome,
        settings_hash=row["settings_hash"],
    )
    raw = row["vector"]
    vector = None if raw is None else np.frombuffer(raw, dtype="<f4").astype(np.float32, copy=False)
    return PastRequest(NewRecord(record, vector, row["prompt"]), tuple(_past_rating(each) for each in ratings))


def _decision(own_id: uuid.UUID, record: RequestRecord) -> Sequence[Any]:
    decision = record.decision
    weights = decision.weights
    return (
        own_id,
        decision.kind.value,
        list(decision.ranked),
        decision.propensity,
        decision.confidence,
        decision.reason,
        decision.policy,
        decision.snapshot,
        record.settings_hash,
        *(decision.cluster or (None, None)),
        list(decision.degraded),
        *((None,) * 3 if weights is None else (weights.quality, weights.latency, weights.cost)),
        *([getattr(view, name) for view in decision.views] for name in VIEW.values()),
        *([getattr(neighbour, name) for neighbour in decision.neighbours] for name in NEIGHBOUR.values()),
    )


def _past_decision(row: Row) -> Decision:
    views = _transposed(row, VIEW)
    neighbours = _transposed(row, NEIGHBOUR)
    weights = (row["quality_weight"], row["latency_weight"], row["cost_weight"])
    return Decision(
        kind=DecisionKind(row["kind"]),
        ranked=tuple(row["ranked"]),
        propensity=row["propensity"],
        confidence=row["confidence"],
        reason=row["reason"],
        views=tuple(ArmView(**view) for view in views),
        neighbours=tuple(NeighbourUse(**neighbour) for neighbour in neighbours),
        weights=None if weights[0] is None else Weights(*weights),
        policy=row["policy"],
        snapshot=row["snapshot"],
        cluster=None if row["cluster"] is None else (row["cluster_epoch"], row["cluster"]),
        degraded=tuple(row["degraded"]),
    )


def _transposed(row: Row, columns: Mapping[str, str]) -> list[dict[str, Any]]:
    lists = zip(*(row[column] for column in columns), strict=True)
    return [dict(zip(columns.values(), values, strict=True)) for values in lists]


def _past_rating(row: Row) -> PastRating:
    return PastRating(str(row["request_id"]), row["revision"], row["score"], row["feedback_text"], row["rated_s"])


def _plain(values: Sequence[Any]) -> list[Any]:
    """Make every text one that PostgreSQL takes, and every float in a list a float: lists are of one type."""
    return [_one(value) for value in values]


def _one(value: Any) -> Any:
    if isinstance(value, str):
        # NUL and lone surrogates are legal in JSON but not in a text column: the row is worth more than they are.
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [float(each) if isinstance(each, int) else _one(each) for each in value]
    return value
