"""Mapping between evaluations and rows of the history: one row each, its candidates in parallel arrays."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from shared.schemas.evaluation import Candidate, Evaluation

CANDIDATES = {
    "arms": "arm",
    "served": "served",
    "scores": "score",
    "errors": "error",
    "costs_usd": "cost_usd",
    "latencies_s": "latency_s",
    "prompt_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens",
}
"""Column to the field of each candidate that it lists."""

EVALUATION_COLUMNS = (
    "request_id", "judge", "rubric", "evaluated_s", "judge_cost_usd", "error", *CANDIDATES,
)  # fmt: skip


def evaluation_row(request_id: str, evaluation: Evaluation) -> Sequence[Any]:
    """Return the row of an evaluation. Raises ValueError where its request's id is none of ours."""
    facts = (evaluation.judge, evaluation.rubric, evaluation.evaluated_at, evaluation.judge_cost_usd, evaluation.error)
    lists = ([getattr(one, name) for one in evaluation.candidates] for name in CANDIDATES.values())
    return (uuid.UUID(request_id), *facts, *lists)


def past_evaluation(row: Mapping[str, Any]) -> Evaluation:
    """Return the evaluation of a row."""
    rows = zip(*(row[column] for column in CANDIDATES), strict=True)
    return Evaluation(
        judge=row["judge"],
        rubric=row["rubric"],
        evaluated_at=row["evaluated_s"],
        candidates=tuple(Candidate(**dict(zip(CANDIDATES.values(), values, strict=True))) for values in rows),
        judge_cost_usd=row["judge_cost_usd"],
        error=row["error"],
    )
