"""`GET /metrics` for Prometheus."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.gateway.chat.chat_metrics import show_state
from services.gateway.http.app_keys import CHAT, HEALTH, REGISTRY, SETTINGS


async def metrics(request: web.Request) -> web.Response:
    """Show every metric of this process, with the state of its parts as of now."""
    report = await request.app[HEALTH].report()
    show_state(request.app[CHAT], request.app[SETTINGS].bandit().weights, report["parts"])
    body = generate_latest(request.app[REGISTRY])
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
