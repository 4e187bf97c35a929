"""`GET /health` for people and dashboards, `GET /ready` for load balancers."""

from __future__ import annotations

from aiohttp import web

from services.gateway.http.app_keys import HEALTH, REQUEST_CONTEXT
from services.gateway.http.handlers import json_response


async def health(request: web.Request) -> web.Response:
    """Report the state of every part; always 200, for a process that answers is alive.

    Where keys are set, a caller without one gets the status alone.
    """
    report = await request.app[HEALTH].report()
    return json_response(report if request[REQUEST_CONTEXT].caller.operator else {"status": report["status"]})


async def ready(request: web.Request) -> web.Response:
    """Report whether this process wants traffic."""
    state = request.app[HEALTH]
    reason = state.not_ready()
    if reason is None:
        return json_response({"status": "ready", "degraded": state.missing()})
    response = json_response({"status": "not ready", "reason": reason}, 503)
    response.headers["Retry-After"] = "1"
    return response
