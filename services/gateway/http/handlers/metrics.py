"""`GET /metrics` for Prometheus."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.gateway.http.app_keys import HEALTH, METRICS_VIEW, REGISTRY


async def metrics(request: web.Request) -> web.Response:
    """Show every metric of this process, with its present state."""
    report = await request.app[HEALTH].report()
    request.app[METRICS_VIEW].show(report["parts"], report["upstreams"])
    body = generate_latest(request.app[REGISTRY])
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
