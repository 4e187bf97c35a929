"""Typed keys: of the request context on a request, and of the parts that `app.py` puts on the application."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry

from services.gateway.chat.embeddings import Embeddings
from services.gateway.chat.selection import Selector
from services.gateway.dashboard.files import PageFile
from services.gateway.feedback.record_feedback import FeedbackRecorder
from services.gateway.feedback.signed_links import SignedLinks
from services.gateway.http.chat_handler import ChatHandler
from services.gateway.http.request_lifecycle import RequestLifecycle
from services.gateway.limits.admission import BodyBytes
from services.gateway.limits.learned_limits import LearnedLimits
from services.gateway.limits.quotas import Quotas
from services.gateway.models.catalogue import Catalogue
from services.gateway.models.models_reload import ModelsReload
from services.gateway.models.posterior_cache import PosteriorCache
from services.gateway.models.runtime_models import RuntimeModels
from services.gateway.process.health import Health, Readiness
from services.gateway.process.metrics_view import MetricsView
from services.gateway.process.past_posteriors import PastPosteriors
from services.gateway.process.traffic_view import TrafficView
from services.gateway.records.prompt_store import PromptStore
from services.gateway.request_context import RequestContext
from shared.ports import EventQueue, RequestLog
from shared.request_list import RequestList
from shared.resilience.supervision import Supervisor
from shared.settings import Settings

# -- on each request, set by the middleware --------------------------------------------------------------------------
REQUEST_CONTEXT = web.RequestKey("request_context", RequestContext)

# -- on the application, set by `app.py` -----------------------------------------------------------------------------
SETTINGS = web.AppKey("settings", Settings)
REGISTRY = web.AppKey("registry", CollectorRegistry)
CHAT = web.AppKey("chat", ChatHandler)
EMBEDDINGS = web.AppKey("embeddings", Embeddings)
SELECTOR = web.AppKey("selector", Selector)
FEEDBACK = web.AppKey("feedback", FeedbackRecorder)
CATALOGUE = web.AppKey("catalogue", Catalogue)
MODELS_RELOAD = web.AppKey("models_reload", ModelsReload)
RUNTIME_MODELS = web.AppKey("runtime_models", RuntimeModels)
POSTERIORS = web.AppKey("posteriors", PosteriorCache)
LEARNED_LIMITS = web.AppKey("learned_limits", LearnedLimits)
REQUEST_LOG = web.AppKey("request_log", RequestLog)
REQUEST_LIST = web.AppKey("request_list", RequestList)
TRAFFIC = web.AppKey("traffic", TrafficView)
PAST_POSTERIORS = web.AppKey("past_posteriors", PastPosteriors)
QUOTAS = web.AppKey("quotas", Quotas)
EVENT_QUEUE = web.AppKey("event_queue", EventQueue)
PROMPTS = web.AppKey[PromptStore | None]("prompts")
METRICS_VIEW = web.AppKey("metrics_view", MetricsView)
SUPERVISOR = web.AppKey("supervisor", Supervisor)
HEALTH = web.AppKey("health", Health)
READINESS = web.AppKey("readiness", Readiness)
REQUEST_LIFECYCLE = web.AppKey("request_lifecycle", RequestLifecycle)
BODY_BYTES = web.AppKey("body_bytes", BodyBytes)
DASHBOARD = web.AppKey[Mapping[str, PageFile]]("dashboard")
LINKS = web.AppKey("links", SignedLinks)
