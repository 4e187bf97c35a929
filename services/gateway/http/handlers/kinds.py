"""`GET /arms?kinds=1`: what is believed of each kind of prompt."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from aiohttp import web
from multidict import MultiMapping

from services.gateway.http.app_keys import SETTINGS
from services.gateway.http.openapi_queries import KINDS_QUERY, USUAL_KINDS
from services.gateway.http.prompts import prompts_of
from services.gateway.http.query import one_of, parameters, whole_number
from services.gateway.models.typical_words import typical_words
from shared.bandit.kind_summary import KindSummary, kind_summaries
from shared.bandit.kinds import MAX_KINDS
from shared.bandit.posterior import GaussianPosterior
from shared.bandit.prompt_kind import kind_name


def kinds_wanted(query: MultiMapping[str]) -> int:
    """Return how many kinds to show; 0 for none. Raises InvalidRequest."""
    given = parameters(query, KINDS_QUERY)
    limit = whole_number(given, "limit", default=USUAL_KINDS, low=1, high=MAX_KINDS)
    return limit if one_of(given, "kinds", ("1", "0")) == "1" else 0


async def kinds_as_json(request: web.Request, posterior: GaussianPosterior, limit: int) -> dict[str, Any]:
    """Return the largest kinds; prompts of examples only if they are stored and the caller may see these requests."""
    weights = request.app[SETTINGS].bandit().weights
    # Milliseconds of arithmetic: in the event loop they would delay every open stream.
    summaries = await asyncio.to_thread(kind_summaries, posterior, weights, limit)
    own_ids = [example.request_id for one in summaries for example in one.examples]
    state, texts = await prompts_of(request, own_ids)
    traffic = sum(sums.requests for sums in posterior.sums)
    known = [[texts[own.request_id] for own in one.examples if own.request_id in texts] for one in summaries]
    words = await asyncio.to_thread(typical_words, known)
    return {
        "kinds_total": 0 if posterior.kinds is None else len(posterior.kinds.ids),
        "prompts": state,
        "kinds": [_kind(one, traffic, texts) | {"words": of} for one, of in zip(summaries, words, strict=True)],
    }


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
