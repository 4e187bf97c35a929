"""`GET /health` for people and dashboards, `GET /ready` for load balancers."""

from __future__ import annotations

import orjson
from aiohttp import web

from services.gateway.http.app_keys import HEALTH, REQUEST_CONTEXT


async def health(request: web.Request) -> web.Response:
    """Report the state of every part; always 200, for a process that answers is alive.

    Where keys are set, a caller without one gets the status alone.
    """
    report = await request.app[HEALTH].report()
    return _json(report if request[REQUEST_CONTEXT].caller.operator else {"status": report["status"]})


async def ready(request: web.Request) -> web.Response:
    """Report whether this process wants traffic."""
    state = request.app[HEALTH]
    reason = state.not_ready()
    if reason is None:
        return _json({"status": "ready", "degraded": state.missing()})
    return _json({"status": "not ready", "reason": reason}, status=503)


def _json(content: object, status: int = 200) -> web.Response:
    response = web.Response(status=status, body=orjson.dumps(content), content_type="application/json")
    if status == 503:
        response.headers["Retry-After"] = "1"
    return response
