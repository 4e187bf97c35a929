"""Typed keys: what the middlewares put on a request, and what the composition root puts on the application."""

from __future__ import annotations

import asyncio

from aiohttp import web
from prometheus_client import CollectorRegistry

from services.gateway.chat.plan import ChatPorts
from services.gateway.feedback.signed_links import SignedLinks
from services.gateway.http.chat_request_reader import ChatRequestReader
from services.gateway.http.request_lifecycle import RequestLifecycle
from services.gateway.limits.admission import Admission
from services.gateway.limits.body_bytes import BodyBytes
from services.gateway.process.health import Health
from services.gateway.process.readiness import Readiness
from services.gateway.request_context import RequestContext
from shared.metrics import GatewayMetrics
from shared.settings import Settings

# -- on each request, set by the outermost middleware ----------------------------------------------------------------
REQUEST_CONTEXT = web.RequestKey("visit", RequestContext)

# -- on the application, set by `app.py` -----------------------------------------------------------------------------
SETTINGS = web.AppKey("settings", Settings)
METRICS = web.AppKey("metrics", GatewayMetrics)
REGISTRY = web.AppKey("registry", CollectorRegistry)
CHAT = web.AppKey("chat", ChatPorts)
HEALTH = web.AppKey("health", Health)
READINESS = web.AppKey("lifecycle", Readiness)
REQUEST_LIFECYCLE = web.AppKey("door", RequestLifecycle)
ADMISSION = web.AppKey("admission", Admission)
BODY_BYTES = web.AppKey("bytes_in_work", BodyBytes)
CHAT_REQUEST_READER = web.AppKey("asking", ChatRequestReader)
PARSING = web.AppKey("parsing", asyncio.Lock)
"""Held while a big body is parsed."""

LINKS = web.AppKey("links", SignedLinks)
