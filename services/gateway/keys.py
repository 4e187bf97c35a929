"""Typed keys: what the middlewares put on a request, and what the composition root puts on the application."""

from __future__ import annotations

import asyncio

from aiohttp import web
from prometheus_client import CollectorRegistry

from services.gateway.admission import Admission
from services.gateway.asking import Asking
from services.gateway.bytes_in_work import BytesInWork
from services.gateway.door import Door, Visit
from services.gateway.feedback_links import FeedbackLinks
from services.gateway.health import Health
from services.gateway.lifecycle import Lifecycle
from services.gateway.plan import ChatPorts
from shared.metrics import GatewayMetrics
from shared.settings import Settings

# -- on each request, set by the outermost middleware ----------------------------------------------------------------
VISIT = web.RequestKey("visit", Visit)

# -- on the application, set by `app.py` -----------------------------------------------------------------------------
SETTINGS = web.AppKey("settings", Settings)
METRICS = web.AppKey("metrics", GatewayMetrics)
REGISTRY = web.AppKey("registry", CollectorRegistry)
CHAT = web.AppKey("chat", ChatPorts)
HEALTH = web.AppKey("health", Health)
LIFECYCLE = web.AppKey("lifecycle", Lifecycle)
DOOR = web.AppKey("door", Door)
ADMISSION = web.AppKey("admission", Admission)
BYTES_IN_WORK = web.AppKey("bytes_in_work", BytesInWork)
ASKING = web.AppKey("asking", Asking)
PARSING = web.AppKey("parsing", asyncio.Lock)
"""Held while a big body is parsed."""

LINKS = web.AppKey("links", FeedbackLinks)
