"""Mapping between requests and rows: `request_rows` and `past_request` are inverse.

Both work on the record's JSON. Fields without a column, such as those of a newer version, go into the column `more`,
so that nothing is lost.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import orjson
from msgspec import Struct, structs

from shared.bandit.decision import NEIGHBOUR_FIELDS
from shared.bandit.sources import Source
from shared.schemas.events import parse_ledger_name
from shared.schemas.history import Contribution, PastRating, PastRequest, Waiting
from shared.schemas.records import RequestRecord
from shared.schemas.storage import Assignment, NewRecord
from shared.storage.postgres_evaluations import EVALUATION_COLUMNS, evaluation_row, past_evaluation

Row = Mapping[str, Any]
Json = dict[str, Any]

REQUEST = ("public_id", "owner", "requested_model", "embedding_model", "session")
DECISION = (
    "kind", "ranked", "propensity", "confidence", "reason", "policy", "snapshot", "degraded", "exploration",
    "kind_size", "kind_requests", "kind_labels", "nearness", "examples",
)  # fmt: skip
OUTCOME = (
    "status", "arm", "cost_usd", "cost_source", "prompt_tokens", "completion_tokens", "overhead_s", "upstream_s",
    "first_token_s", "streamed",
)  # fmt: skip
RATING = ("request_id", "revision", "score", "feedback_text", "rated_s")
ATTEMPT = ("arm", "error", "duration_s", "spent", "cost_usd")
"""Columns that are called as the field is, by table."""

WEIGHTS = {"quality_weight": "quality", "latency_weight": "latency", "cost_weight": "cost"}
VIEWS = {
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
    "rating_sds": "rating_sd",
}
NEIGHBOURS = {
    "neighbour_ids": "request_id",
    "neighbour_arms": "arm",
    "neighbour_scores": "score",
    "neighbour_similarities": "similarity",
    "neighbour_weights": "weight",
}
"""Column of `decisions` to the field that it holds; of views and neighbours it is a list, one entry each."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "requests": ("id", "created_s", "vector", "prompt", "more", *REQUEST),
    "decisions": (
        "request_id", "settings_hash", "session_kept", "cluster_epoch", "cluster", "shadow", "more", *DECISION,
        *WEIGHTS, *VIEWS, *NEIGHBOURS,
    ),
    "outcomes": ("request_id", "more", *OUTCOME),
    "attempts": ("request_id", "number", "more", *ATTEMPT),
    "feedback": RATING,
    "scores": ("source", "weight", *RATING),
    "evaluations": EVALUATION_COLUMNS,
    "contributions": ("request_id", "kind", "revision", "cluster_epoch", "cluster", "assigned", "sums"),
}  # fmt: skip
"""Written columns by table; generated columns and defaults are left out."""


_NUL = b"\\u0000"


class RequestRows(Struct, frozen=True):
    """The rows of one request."""

    request: Sequence[Any]
    decision: Sequence[Any]
    outcome: Sequence[Any]
    attempts: Sequence[Sequence[Any]]


def batch_json(entries: Iterable[Waiting]) -> Mapping[str, str]:
    """Return the rows of a batch as the JSON texts that `INSERT` takes, by table, in the order to write them.

    Raises ValueError or OverflowError where an entry has no row.
    """
    # A fixed order: two writers of the same rows in different orders would deadlock.
    entries = sorted(entries, key=_place)
    rows = [request_rows(entry.request) for entry in entries if entry.request is not None]
    # One statement must not change a row twice: of entries with the same key the last one counts.
    ratings = {(one.request_id, one.source, one.revision): one for entry in entries if (one := entry.rating)}
    learned = {(its.request_id, its.ledger): its for entry in entries if (its := entry.contribution)}
    tables: dict[str, Sequence[Sequence[Any]]] = {
        "requests": [row.request for row in rows],
        "decisions": [row.decision for row in rows],
        "outcomes": [row.outcome for row in rows],
        "attempts": [attempt for row in rows for attempt in row.attempts],
        "feedback": [rating_row(one) for one in ratings.values() if one.source is Source.USER],
        "scores": [score_row(one) for one in ratings.values() if one.source is not Source.USER],
        "evaluations": [evaluation_row(one.request_id, one.evaluation) for one in entries if one.evaluation],
        "contributions": [contribution_row(one) for one in learned.values()],
    }
    return {
        table: msgspec.json.encode([dict(zip(COLUMNS[table], row, strict=True)) for row in values]).decode()
        for table, values in tables.items()
        if values
    }


def _place(entry: Waiting) -> tuple[str, float]:
    """Return the place of an entry in a batch: by request, later ratings and contributions last."""
    if entry.rating is not None:
        return entry.request_id, entry.rating.rated_at
    return entry.request_id, 0 if entry.contribution is None else entry.contribution.revision


def request_rows(entry: NewRecord) -> RequestRows:
    """Return the rows of a request. Raises ValueError where its id is none of ours."""
    text = entry.record.to_json()
    record: Json = orjson.loads(text)
    if _NUL in text:
        record = _plain(record)
    own_id = uuid.UUID(record.pop("id"))
    created_s, settings_hash, shadow = record.pop("created_at"), record.pop("settings_hash"), record.pop("shadow")
    decision, outcome = record.pop("decision"), record.pop("outcome")
    vector = None if entry.vector is None else "\\x" + np.asarray(entry.vector, dtype="<f4").tobytes().hex()
    for name in ("traits", "evaluation_plan", "repeats"):
        if not record[name]:
            del record[name]
    known = _taken(record, REQUEST)
    request = (own_id, created_s, vector, _plain(entry.prompt), _more(record), *known)
    attempts = [
        (own_id, number, *_with_more(_said(attempt), ATTEMPT))
        for number, attempt in enumerate(outcome.pop("attempts"), 1)
    ]
    told = (own_id, settings_hash, *_decision(decision, shadow))
    if outcome["failed_checks"] is None:
        del outcome["failed_checks"]
    return RequestRows(request, told, (own_id, *_with_more(outcome, OUTCOME)), attempts)


def contribution_row(contribution: Contribution) -> Sequence[Any]:
    """Return the row of a contribution. Raises ValueError where its request's id is none of ours."""
    assigned = contribution.assigned
    generation, kind = (0, None) if assigned is None else assigned.kind
    order = (assigned.order or None) if assigned is not None else None
    own_id, name = uuid.UUID(contribution.request_id), contribution.ledger
    return (own_id, name, contribution.revision, generation, kind, order, contribution.sums)


def rating_row(rating: PastRating) -> tuple[Any, ...]:
    """Return the row of a rating by users. Raises ValueError where its request's id is none of ours."""
    return (uuid.UUID(rating.request_id), rating.revision, rating.score, _plain(rating.text), rating.rated_at)


def score_row(rating: PastRating) -> tuple[Any, ...]:
    """Return the row of a rating by another source. Raises ValueError where its request's id is none of ours."""
    return (rating.source.value, rating.weight, *rating_row(rating))


def past_request(row: Row, rows: Mapping[str, Sequence[Row]]) -> PastRequest:
    """Return a request of its rows: `row` is that of requests and that of decisions joined; others are by table."""
    (outcome,) = rows["outcomes"]
    tried = [_named(each, ATTEMPT) | (each["more"] or {}) for each in rows["attempts"]]
    record = {
        "id": str(row["id"]),
        "created_at": row["created_s"],
        "settings_hash": row["settings_hash"],
        "decision": _past_decision(row),
        "outcome": _named(outcome, OUTCOME) | {"attempts": tried} | (outcome["more"] or {}),
        "shadow": row["shadow"],
        **_named(row, REQUEST),
        **(row["more"] or {}),
    }
    raw = row["vector"]
    vector = None if raw is None else np.frombuffer(raw, dtype="<f4").astype(np.float32, copy=False)
    entry = NewRecord(RequestRecord.from_json(orjson.dumps(record)), vector, row["prompt"])
    return PastRequest(
        entry,
        tuple(_past_rating(each) for each in (*rows["feedback"], *rows["scores"])),
        tuple(_past_contribution(each) for each in rows["contributions"]),
        next((past_evaluation(each) for each in rows["evaluations"]), None),
    )


def _decision(decision: Json, shadow: Json | None) -> Sequence[Any]:
    """Return the columns of `decisions` after the settings' hash."""
    kept, weights = decision.pop("session"), decision.pop("weights") or {}
    cluster = decision.pop("cluster") or (None, None)
    views, neighbours = decision.pop("views"), decision.pop("neighbours")
    known = [*_taken(decision, DECISION), *(weights.pop(name, None) for name in WEIGHTS.values())]
    known += [[view.pop(name, 0.0) for view in views] for name in VIEWS.values()]  # 0: an older record
    known += [[use[at] for use in neighbours] for at in map(NEIGHBOUR_FIELDS.index, NEIGHBOURS.values())]
    for name in ("unfit", "terms", "group", "searched"):
        if decision[name] in (None, "", []):
            del decision[name]
    for name, left in (("weights", weights), ("views", views)):
        if left and any(left):
            decision[name] = left
    return (kept, *cluster, shadow, _more(decision), *known)


def _past_decision(row: Row) -> Json:
    more: Json = dict(row["decision_more"] or {})
    weights = {name: row[column] for column, name in WEIGHTS.items()} | more.pop("weights", {})
    columns = {name: row[column] for column, name in NEIGHBOURS.items()}
    lists = {
        "views": _transposed(row, VIEWS, more.pop("views", None)),
        "neighbours": list(zip(*(columns[name] for name in NEIGHBOUR_FIELDS), strict=True)),
    }
    return {
        "session": row["session_kept"],
        "weights": None if weights["quality"] is None else weights,
        "cluster": None if row["cluster"] is None else (row["cluster_epoch"], row["cluster"]),
        **_named(row, DECISION),
        **lists,
        **more,
    }


def _transposed(row: Row, columns: Mapping[str, str], more: Sequence[Json] | None) -> list[Json]:
    unknown = [0.0] * len(row["arms"])  # in rows of before a column was added
    lists = list(zip(*(unknown if row[column] is None else row[column] for column in columns), strict=True))
    left = more or [{}] * len(lists)
    return [dict(zip(columns.values(), values, strict=True)) | rest for values, rest in zip(lists, left, strict=True)]


def _past_rating(row: Row) -> PastRating:
    rating = PastRating(str(row["request_id"]), row["revision"], row["score"], row["feedback_text"], row["rated_s"])
    return structs.replace(rating, source=Source(row["source"]), weight=row["weight"]) if "source" in row else rating


def _past_contribution(row: Row) -> Contribution:
    assigned = None
    if row["cluster"] is not None:
        assigned = Assignment((row["cluster_epoch"], row["cluster"]), row["assigned"] or 0)
    kind, source = parse_ledger_name(row["kind"])
    return Contribution(str(row["request_id"]), kind, row["revision"], row["sums"], assigned, source)


def _taken(source: Json, names: Iterable[str]) -> list[Any]:
    return [source.pop(name) for name in names]


def _with_more(source: Json, names: Iterable[str]) -> list[Any]:
    known = _taken(source, names)
    return [_more(source), *known]


def _said(attempt: Json) -> Json:
    """Return an attempt without empty fields that have no column."""
    return {name: value for name, value in attempt.items() if value is not None or name in ATTEMPT}


def _named(row: Row, names: Iterable[str]) -> Json:
    return {name: row[name] for name in names}


def _more(left: Json) -> Json | None:
    return left or None


def _plain(value: Any) -> Any:
    """Replace NUL and lone surrogates, which PostgreSQL cannot store, so that the row is kept."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return {name: _plain(each) for name, each in value.items()} if isinstance(value, dict) else value
