"""`GET /requests/{id}` and `GET /metrics/{id}`: the record of one request, for its owner or an admin."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import msgspec
from aiohttp import web

from services.gateway.http.app_keys import REQUEST_CONTEXT, REQUEST_LOG
from services.gateway.http.handlers import json_response, read_stored
from shared.bandit.decision import NEIGHBOUR_FIELDS, UNFIT_FIELDS, ArmView, Decision
from shared.bandit.prompt_kind import kind_name
from shared.errors import NotFound
from shared.schemas.ids import is_request_id
from shared.schemas.records import Outcome, StoredRequest

FIND_TIMEOUT_S = 2.0


async def request_record(request: web.Request) -> web.Response:
    """Show the whole record: decision, evidence, outcome, feedback, and which of them have been learned."""
    return json_response(_record(await _find(request)))


async def request_metrics(request: web.Request) -> web.Response:
    """Show the numbers of one request."""
    return json_response(numbers(await _find(request)))


async def _find(request: web.Request) -> StoredRequest:
    public_id = request.match_info["request_id"]
    found = None
    if is_request_id(public_id):
        finding = request.app[REQUEST_LOG].find(owner=request[REQUEST_CONTEXT].caller.scope, public_id=public_id)
        found = await read_stored(finding, "Records", FIND_TIMEOUT_S)
    if found is None:
        # The same message for a request that never was and for one of another key.
        raise NotFound("There is no such request.", code="request_not_found", param="request_id")
    return found


def _record(stored: StoredRequest) -> dict[str, Any]:
    record = stored.record
    return {
        "request_id": record.public_id,
        "id": record.id,
        "created_at": record.created_at,
        "requested_model": record.requested_model,
        "embedding_model": record.embedding_model,
        "model": record.outcome.arm,
        "status": record.outcome.status,
        "decision": decision_as_json(record.decision),
        "shadow": None if record.shadow is None else decision_as_json(record.shadow),
        "session": record.session,
        "repeats": record.repeats,
        "traits": record.traits,
        "evaluation_plan": None if record.evaluation_plan is None else msgspec.to_builtins(record.evaluation_plan),
        "outcome": msgspec.to_builtins(record.outcome),
        "feedback": None if stored.rating is None else msgspec.to_builtins(stored.rating),
        "scores": {source.value: msgspec.to_builtins(rating) for source, rating in stored.scores.items()},
        "evaluation": None if stored.evaluation is None else msgspec.to_builtins(stored.evaluation),
        "learned": {
            "outcome": stored.outcome_applied,
            "feedback": stored.rating is not None and stored.rating_applied >= stored.rating.revision,
            "feedback_revision": stored.rating_applied,
            "scores": {
                source.value: stored.scores_applied.get(source, 0) >= rating.revision
                for source, rating in stored.scores.items()
            },
            "evaluation": stored.evaluation_applied,
        },
        "metrics": numbers(stored),
    }


def decision_as_json(decision: Decision) -> dict[str, Any]:
    """Return a decision with names in place of positions."""
    content = asdict(decision)
    return {
        "kind": decision.kind,
        "model": decision.arm,
        "propensity": decision.propensity,
        "confidence": decision.confidence,
        "reason": decision.reason,
        "session_held": decision.session,
        "exploration": decision.exploration,
        "explored": decision.explored,
        "eligible": list(decision.ranked),
        "unfit": [dict(zip(UNFIT_FIELDS, row, strict=True)) for row in decision.unfit],
        "arms": content.pop("views"),
        "neighbours": [
            # "" for an id that is not kept
            {name: None if value == "" else value for name, value in zip(NEIGHBOUR_FIELDS, use, strict=True)}
            for use in decision.neighbours
        ],
        **{name: content[name] for name in ("searched", "weights", "terms", "policy", "snapshot", "degraded")},
        "prompt_kind": _prompt_kind(decision),
    }


def _prompt_kind(decision: Decision) -> dict[str, Any] | None:
    """Return what the decision says of the kind of its prompt; None where that was not known."""
    if decision.cluster is None:
        return None
    return {
        "id": kind_name(decision.cluster),
        "size": decision.kind_size,
        "requests_nearby": decision.kind_requests,
        "labels_nearby": decision.kind_labels,
        "new": None if decision.nearness is None else decision.nearness < 1,
        "nearness": decision.nearness,
        "examples": list(decision.examples),
    }


def numbers(stored: StoredRequest) -> dict[str, Any]:
    """Return the numbers of a request."""
    record, outcome = stored.record, stored.record.outcome
    score = None if stored.rating is None else stored.rating.score
    return {
        "request_id": record.public_id,
        "model": outcome.arm,
        "status": outcome.status,
        "latency_ms": _latency(outcome),
        "tokens": {
            "prompt": outcome.prompt_tokens,
            "completion": outcome.completion_tokens,
            "total": outcome.prompt_tokens + outcome.completion_tokens,
        },
        "cost_usd": outcome.cost_usd,
        "cost_source": outcome.cost_source,
        "score": score,
        "reward": _reward(record.decision, record.decision.view(outcome.arm), score),
    }


def _latency(outcome: Outcome) -> dict[str, float | None]:
    return {
        "overhead": outcome.overhead_s * 1000,
        "upstream": outcome.upstream_s * 1000,
        "first_token": None if outcome.first_token_s is None else outcome.first_token_s * 1000,
    }


def _reward(decision: Decision, view: ArmView | None, score: float | None) -> dict[str, float | None] | None:
    """Return the terms that were weighed; once there is a score, it replaces the expected quality."""
    if view is None or decision.weights is None:
        return None
    weights = decision.weights
    latency, cost = weights.latency * view.speed_term, weights.cost * view.cost_term
    quality = weights.quality * (view.quality if score is None else score)
    return {
        "quality": None if score is None else quality,
        "expected_quality": weights.quality * view.quality,
        "latency": latency,
        "cost": cost,
        "total": None if score is None else quality + latency + cost,
    }
