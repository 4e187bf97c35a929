"""Typed keys: what the middlewares put on a request, and what the composition root puts on the application."""

from __future__ import annotations

import asyncio

from aiohttp import web
from prometheus_client import CollectorRegistry

from services.gateway.access import Caller
from services.gateway.feedback_links import FeedbackLinks
from services.gateway.health import Health
from services.gateway.lifecycle import Lifecycle
from services.gateway.plan import ChatPorts
from shared.metrics import GatewayMetrics
from shared.settings import Settings

# -- on each request, set by the middlewares before any handler runs ------------------------------------------------
OWN_ID = web.RequestKey("own_id", str)
"""Our own id of the request, a UUIDv7: storage key and Qdrant point."""

CLIENT_ID = web.RequestKey[str | None]("client_id")
"""The client's X-Request-ID where it sent a valid one, else None."""

PUBLIC_ID = web.RequestKey("public_id", str)
"""What the client knows the request by, and what goes out as `x-request-id`: CLIENT_ID, or OWN_ID."""

CALLER = web.RequestKey("caller", Caller)
"""Who calls, and with which role."""

OWNER = web.RequestKey("owner", str)
"""Short hash of the API key, or "public" where API_KEYS is empty."""

LINE = web.RequestKey[dict[str, object]]("line")
"""Fields of the canonical log line. Handlers add ids, names and numbers; the outermost middleware writes the line."""

TOLD = web.RequestKey[dict[str, str]]("told")
"""Headers of the answer, whatever it is: what the key has left of its limits."""

# -- on the application, set by `app.py` -----------------------------------------------------------------------------
SETTINGS = web.AppKey("settings", Settings)
METRICS = web.AppKey("metrics", GatewayMetrics)
REGISTRY = web.AppKey("registry", CollectorRegistry)
CHAT = web.AppKey("chat", ChatPorts)
HEALTH = web.AppKey("health", Health)
LIFECYCLE = web.AppKey("lifecycle", Lifecycle)
FORWARD_CONTROL = web.AppKey("forward_control", bool)
"""Whether `x-simulate` goes on to the upstream: only where no real key is set, so never to one that costs money."""

FORWARD_SESSION = web.AppKey("forward_session", bool)
"""Whether `session_id` goes on in the body: to OpenRouter alone, for others refuse fields that they do not know."""

PARSING = web.AppKey("parsing", asyncio.Lock)
"""Held while a big body is parsed."""

LINKS = web.AppKey("links", FeedbackLinks)
