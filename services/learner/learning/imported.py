"""Imported scores: what a prompt with the scores of its answers adds to the sums, and its points in the index."""

from __future__ import annotations

import uuid

from shared.bandit.context import Vector
from shared.bandit.kinds import KindId
from shared.bandit.learning import outcome_sums, score_sums
from shared.bandit.reward import ASSUMED_COMPLETION_TOKENS, ASSUMED_PROMPT_TOKENS
from shared.bandit.stored_sums import parse_sums
from shared.schemas.imports import Import, ImportedAnswer
from shared.schemas.storage import Point


def import_sums(record: Import, kind: KindId | None) -> dict[str, int]:
    """Return the contribution of an import; each field carries its arm.

    Raises:
        CorruptState: readers would refuse sums that include this.
    """
    sums: dict[str, int] = {}
    for arm, answer in record.answers.items():
        part = score_sums(source=record.source, score=answer.score, kind=kind, weight=record.weight)
        part |= _outcome(answer, kind)
        parse_sums({name: str(value) for name, value in part.items()})
        sums |= {f"{name}|{arm}": value for name, value in part.items()}
    return sums


def _outcome(answer: ImportedAnswer, kind: KindId | None) -> dict[str, int]:
    """Return what an answer says of cost and time. Without its time it says nothing: a missing one would count as 0."""
    if answer.latency_s is None:
        return {}
    prompt, completion = answer.prompt_tokens, answer.completion_tokens
    return outcome_sums(
        cost_usd=answer.cost_usd,
        latency_s=answer.latency_s,
        prompt_tokens=round(ASSUMED_PROMPT_TOKENS) if prompt is None else prompt,
        completion_tokens=round(ASSUMED_COMPLETION_TOKENS) if completion is None else completion,
        kind=kind,
        served=False,
    )


def point_id(own_id: str, arm: str) -> str:
    """Return the id of the point of one answer."""
    return str(uuid.uuid5(uuid.UUID(own_id), arm))


def import_points(record: Import, vector: Vector) -> list[Point]:
    """Return a labelled point for each answer."""
    return [
        Point(
            request_id=point_id(record.id, arm),
            vector=vector,
            arm=arm,
            created_at=record.created_at,
            owner=f"import:{record.source}",
            score=answer.score,
        )
        for arm, answer in record.answers.items()
    ]
