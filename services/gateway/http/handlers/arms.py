"""`GET /arms`: what has been learned of each arm. `PUT` and `DELETE /arms/{arm}`: which arms there are."""

from __future__ import annotations

from dataclasses import asdict

import orjson
from aiohttp import web

from services.gateway.http.app_keys import CHAT, REQUEST_CONTEXT
from services.gateway.http.handlers.models import limits
from shared.bandit.policy import ArmSummary
from shared.errors import Unavailable


async def arms(request: web.Request) -> web.Response:
    """Show evidence, belief and share of traffic per arm, as of the snapshot that decides now."""
    ports = request.app[CHAT]
    cache = ports.posteriors
    snapshot = cache.snapshot
    if snapshot is None or cache.age_s is None:
        raise Unavailable("What was learned has not been read yet.", code="no_snapshot", retry_after_s=1.0)
    summaries = snapshot.posterior.summary()
    total = sum(summary.requests for summary in summaries)
    body = {
        "object": "list",
        "policy": snapshot.policy.name,
        "snapshot": snapshot.version,
        "snapshot_age_s": round(cache.age_s, 3),
        "added": ports.catalogue.added,
        "removed": ports.catalogue.removed,
        "data": [
            {
                "object": "arm",
                **asdict(summary),
                **limits(ports.catalogue.arm(summary.arm)),
                "refuses": ports.learned_limits.view(summary.arm),
                "reliability": _reliability(summary),
                "share": summary.requests / total if total else 0.0,
            }
            for summary in summaries
        ],
    }
    return web.Response(body=orjson.dumps(body), content_type="application/json")


async def add(request: web.Request) -> web.Response:
    """Add a model to those that the router chooses from, for all gateways and for good."""
    return await _change(request, wanted=True)


async def remove(request: web.Request) -> web.Response:
    """Take a model out of them; what was learned of it stays."""
    return await _change(request, wanted=False)


async def _change(request: web.Request, *, wanted: bool) -> web.Response:
    arm_list = request.app[CHAT].arm_list
    await arm_list.change(request.match_info["arm"], wanted=wanted, by=request[REQUEST_CONTEXT].caller.owner)
    return web.Response(body=orjson.dumps(arm_list.view()), content_type="application/json")


def _reliability(summary: ArmSummary) -> float | None:
    """Return the share of calls that were answered; None before the first call."""
    calls = summary.requests + summary.failures
    return summary.requests / calls if calls else None
