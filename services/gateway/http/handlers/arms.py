"""`GET /arms`: what has been learned of each arm. `PUT` and `DELETE /arms/{arm}` change the list of arms."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aiohttp import web

from services.gateway.http.app_keys import CATALOGUE, LEARNED_LIMITS, POSTERIORS, REQUEST_CONTEXT, RUNTIME_MODELS
from services.gateway.http.handlers import json_response
from services.gateway.http.handlers.kinds import kinds_as_json, kinds_wanted
from services.gateway.http.handlers.models import described
from services.gateway.http.handlers.sources import sources_as_json, sources_of_arm
from shared.bandit.lift import Lift
from shared.bandit.policy import ArmSummary
from shared.errors import Unavailable


async def arms(request: web.Request) -> web.Response:
    """Show evidence, belief and share of traffic of each arm, from the snapshot that decides now; and of each kind."""
    limit = kinds_wanted(request.query)
    cache, catalogue = request.app[POSTERIORS], request.app[CATALOGUE]
    snapshot, learned_limits = cache.snapshot, request.app[LEARNED_LIMITS]
    if snapshot is None or cache.age_s is None:
        raise Unavailable("What was learned has not been read yet.", code="no_snapshot", retry_after_s=1.0)
    summaries, sources = snapshot.posterior.summary(), snapshot.posterior.sources
    total = sum(summary.requests for summary in summaries)
    body = {
        "object": "list",
        "policy": snapshot.policy.name,
        "snapshot": snapshot.version,
        "snapshot_age_s": round(cache.age_s, 3),
        "added": catalogue.added,
        "removed": catalogue.removed,
        "sources": sources_as_json(sources),
        "lift": _lift(snapshot.lift),
        "data": [
            {
                "object": "arm",
                **asdict(summary),
                **described(catalogue.arm(summary.arm)),
                "refuses": learned_limits.view(summary.arm),
                "reliability": _reliability(summary),
                "share": summary.requests / total if total else 0.0,
                "sources": sources_of_arm(sources, column),
            }
            for column, summary in enumerate(summaries)
        ],
    }
    if limit:
        body |= await kinds_as_json(request, snapshot.posterior, limit)
    return json_response(body)


async def add(request: web.Request) -> web.Response:
    """Add a model to those that the router chooses from, for all gateways, until it is removed."""
    return await _change(request, wanted=True)


async def remove(request: web.Request) -> web.Response:
    """Remove a model from them; what was learned of it stays."""
    return await _change(request, wanted=False)


async def _change(request: web.Request, *, wanted: bool) -> web.Response:
    models = request.app[RUNTIME_MODELS]
    await models.change(request.match_info["arm"], wanted=wanted, by=request[REQUEST_CONTEXT].caller.owner)
    return json_response(models.view())


def _reliability(summary: ArmSummary) -> float | None:
    """Return the share of calls that were answered; None before the first call."""
    answers = summary.requests + summary.shadows
    calls = answers + summary.failures
    return answers / calls if calls else None


def _lift(lift: Lift | None) -> dict[str, Any] | None:
    """Return what routing gains over the control group; None without one."""
    if lift is None:
        return None
    return asdict(lift) | {"groups": {group.value: asdict(sums) for group, sums in lift.groups.items()}}
