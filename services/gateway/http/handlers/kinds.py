"""`GET /arms?kinds=1`: what is believed of each kind of prompt."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from aiohttp import web
from multidict import MultiMapping

from services.gateway.http.app_keys import PROMPTS, REQUEST_CONTEXT, SETTINGS
from services.gateway.http.openapi import USUAL_KINDS
from shared.bandit.kind_summary import KindSummary, kind_summaries
from shared.bandit.kinds import MAX_KINDS
from shared.bandit.posterior import GaussianPosterior
from shared.bandit.prompt_kind import kind_name
from shared.errors import DependencyError, InvalidRequest


def kinds_wanted(query: MultiMapping[str]) -> int:
    """Return how many kinds to show; 0 for none. Raises InvalidRequest."""
    kinds, limit = _one(query, "kinds", "0"), _one(query, "limit", str(USUAL_KINDS))
    if kinds not in {"0", "1"}:
        raise InvalidRequest("`kinds` must be 1 or 0.", code="invalid_value", param="kinds")
    if not (limit.isascii() and limit.isdecimal() and len(limit) <= 3 and 1 <= int(limit) <= MAX_KINDS):
        message = f"`limit` must be a whole number from 1 to {MAX_KINDS}."
        raise InvalidRequest(message, code="invalid_value", param="limit")
    return int(limit) if kinds == "1" else 0


def _one(query: MultiMapping[str], name: str, default: str) -> str:
    given = query.getall(name, [default])
    if len(given) > 1:
        raise InvalidRequest(f"`{name}` must be given once.", code="invalid_value", param=name)
    return given[0]


async def kinds_as_json(request: web.Request, posterior: GaussianPosterior, limit: int) -> dict[str, Any]:
    """Return the largest kinds; prompts of examples only if they are stored and the caller may see these requests."""
    weights = request.app[SETTINGS].bandit().weights
    # Milliseconds of arithmetic: in the event loop they would delay every open stream.
    summaries = await asyncio.to_thread(kind_summaries, posterior, weights, limit)
    state, texts = await _prompts(request, summaries)
    traffic = sum(sums.requests for sums in posterior.sums)
    return {
        "kinds_total": 0 if posterior.kinds is None else len(posterior.kinds.ids),
        "prompts": state,
        "kinds": [_kind(one, traffic, texts) for one in summaries],
    }


async def _prompts(request: web.Request, summaries: Sequence[KindSummary]) -> tuple[str, Mapping[str, str]]:
    store, caller = request.app[PROMPTS], request[REQUEST_CONTEXT].caller
    if store is None:
        return "not_stored", {}
    own_ids = [example.request_id for one in summaries for example in one.examples]
    try:
        return "stored", await store.texts(own_ids, owner=caller.scope)
    except DependencyError:
        return "unavailable", {}


def _kind(one: KindSummary, traffic: float, texts: Mapping[str, str]) -> dict[str, Any]:
    return {
        "object": "kind",
        "id": kind_name(one.id),
        "size": one.size,
        "requests": one.requests,
        "labels": one.labels,
        "share": one.requests / traffic if traffic else 0.0,
        "best": {"arm": one.best, "probability": one.chance},
        "examples": [
            {
                "request_id": example.request_id,
                "similarity": example.similarity,
                "prompt": texts.get(example.request_id),
            }
            for example in one.examples
        ],
        "arms": [asdict(arm) for arm in one.arms],
    }
