"""The composition root: the one module that names concrete adapters, and the application built from them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from aiohttp import web

from services.gateway.adapters import Adapters
from services.gateway.chat.chat_metrics import seed
from services.gateway.chat.context import HICCUP_S, ContextGatherer, ContextLimits
from services.gateway.chat.plan import ChatPorts
from services.gateway.feedback.signed_links import SignedLinks
from services.gateway.http.app_keys import (
    ADMISSION,
    BODY_BYTES,
    CHAT,
    CHAT_REQUEST_READER,
    HEALTH,
    LINKS,
    METRICS,
    PARSING,
    READINESS,
    REGISTRY,
    REQUEST_LIFECYCLE,
    SETTINGS,
)
from services.gateway.http.chat_request_reader import ChatRequestReader
from services.gateway.http.middlewares import build_middlewares, limit_places
from services.gateway.http.request_lifecycle import RequestLifecycle
from services.gateway.http.routes import all_routes
from services.gateway.limits.admission import Admission
from services.gateway.limits.body_bytes import BodyBytes
from services.gateway.limits.circuit_breakers import CircuitBreakers
from services.gateway.limits.exploration_budget import ExplorationBudget
from services.gateway.limits.learned_limits import LearnedLimits
from services.gateway.limits.quotas import build_quotas
from services.gateway.limits.retry_budget import RetryBudget
from services.gateway.models.catalogue_settings import build_catalogue
from services.gateway.models.posterior_cache import PosteriorCache
from services.gateway.models.runtime_models import RuntimeModels, SharedFreeArms
from services.gateway.process import background_loops as loops
from services.gateway.process.database_health import DatabaseHealth
from services.gateway.process.gossip import Gossip, name_of
from services.gateway.process.health import Health
from services.gateway.process.readiness import Readiness
from services.gateway.process.settings_check import asks_openrouter
from services.gateway.process.version import VERSION
from services.gateway.records.record_writer import RecordWriter
from services.gateway.records.spool import Spool
from shared.bandit.arms import ArmId
from shared.bandit.build import build_policy
from shared.bandit.policy import Policy
from shared.clients.chat_client import HttpChatModel, connections
from shared.clients.coalescing_embedder import CoalescingEmbedder
from shared.clients.embedder_client import HttpEmbedder
from shared.clients.upstream_route import upstream_proxy, upstream_tls
from shared.clock import SystemClock
from shared.logs import get_logger
from shared.metrics import GatewayMetrics, ProcessMetrics, new_registry
from shared.quick_http import QuickHttp
from shared.resilience.circuit_breaker import CircuitBreaker
from shared.resilience.supervision import Supervisor
from shared.settings import Settings
from shared.storage.qdrant_index import QdrantIndex
from shared.storage.redis_arms import RedisArmChanges, RedisFreeArms
from shared.storage.redis_connection import connect, probe
from shared.storage.redis_database_reports import RedisDatabaseReports
from shared.storage.redis_outbox import RedisOutbox
from shared.storage.redis_posteriors import RedisPosteriorStore
from shared.storage.redis_queue import RedisEventQueue, RedisHeartbeats
from shared.storage.redis_requests import RedisRequestLog
from shared.tracing import IdTracer, Tracer

LOAD_TIMEOUT_S = 2.0

_log = get_logger(__name__)


def open_tracer(settings: Settings) -> Tracer:
    """Return what exports traces, where that is wanted."""
    endpoint = settings.OTEL_EXPORTER_OTLP_ENDPOINT
    if endpoint is None:
        return IdTracer()
    from shared.clients.otel import OtelTracer  # noqa: PLC0415 - an extra, which need not be installed

    return OtelTracer.to_endpoint("gateway", endpoint)


def _upstream_connections(settings: Settings) -> QuickHttp:
    found = upstream_proxy(settings)
    if found is not None:
        _log.info("the upstream is reached by a proxy", setting=found[0], proxy=found[1].name)
    proxy = None if found is None else found[1]
    return connections(settings.OPENROUTER_BASE_URL, proxy=proxy, tls=upstream_tls(settings))


@asynccontextmanager
async def open_adapters(settings: Settings) -> AsyncIterator[Adapters]:
    """Make the real adapters. Nothing is asked of anybody yet: all of them may be away."""
    async with AsyncExitStack() as stack:
        # One pool a destination: a slow upstream must not starve the embedder of connections.
        async def pool(http: QuickHttp) -> QuickHttp:
            return await stack.enter_async_context(http)

        redis = connect(settings)
        stack.push_async_callback(redis.aclose)
        clock = SystemClock()
        key = settings.OPENROUTER_API_KEY
        embed_s = settings.EMBED_TIMEOUT_MS / 1000
        qdrant_key = settings.QDRANT_API_KEY

        tracer = open_tracer(settings)
        stack.callback(tracer.close)

        yield Adapters(
            tracer=tracer,
            embedder=CoalescingEmbedder(HttpEmbedder(await pool(QuickHttp(settings.EMBEDDER_URL)), embed_s), embed_s),
            index=QdrantIndex(
                await pool(QuickHttp(settings.QDRANT_URL)),
                None if qdrant_key is None else qdrant_key.get_secret_value(),
                settings.SEARCH_TIMEOUT_MS / 1000,
            ),
            log=RedisRequestLog(
                redis,
                window_s=settings.FEEDBACK_WINDOW_HOURS * 3600,
                clock=clock,
                history_bound=settings.history_bound,
            ),
            store=RedisPosteriorStore(redis, recency_days=settings.RECENCY_DAYS, clock=clock),
            queue=RedisEventQueue(redis),
            heartbeats=RedisHeartbeats(redis),
            arm_changes=RedisArmChanges(redis),
            free_arms=RedisFreeArms(redis),
            upstream=HttpChatModel(
                await pool(_upstream_connections(settings)),
                None if key is None else key.get_secret_value(),
                first_byte_timeout_s=settings.FIRST_BYTE_TIMEOUT_S,
                gap_timeout_s=settings.STREAM_GAP_TIMEOUT_S,
            ),
            clock=clock,
            redis_version=partial(probe, redis),
            database=DatabaseHealth(RedisDatabaseReports(redis), RedisOutbox(redis))
            if settings.ENABLE_PERSISTENCE
            else None,
        )


def build_app(settings: Settings, adapters: Adapters) -> web.Application:
    """Return the application; its background loops run from start-up to clean-up."""
    registry = new_registry("gateway")
    supervisor = Supervisor(ProcessMetrics(registry).restarts)
    metrics = GatewayMetrics(registry)
    seed(metrics)
    lifecycle = Readiness()
    ports = build_ports(settings, adapters, metrics, supervisor)
    door = RequestLifecycle(settings, metrics, adapters.tracer)
    admission = build_admission(settings, adapters, metrics)
    bytes_in_work = BodyBytes(settings.MAX_BYTES_IN_WORK, metrics)
    app = web.Application(middlewares=[*build_middlewares(door), limit_places(admission, bytes_in_work)])
    app[REQUEST_LIFECYCLE] = door
    app[ADMISSION] = admission
    app[BODY_BYTES] = bytes_in_work
    app[SETTINGS] = settings
    app[METRICS] = metrics
    app[REGISTRY] = registry
    app[READINESS] = lifecycle
    app[CHAT] = ports
    app[CHAT_REQUEST_READER] = ChatRequestReader(
        adapters.clock,
        forward_control=settings.OPENROUTER_API_KEY is None,
        forward_session=asks_openrouter(settings),
    )
    app[LINKS] = SignedLinks(settings.FEEDBACK_LINK_SECRET)
    app[PARSING] = asyncio.Lock()
    app[HEALTH] = _health(adapters, ports, lifecycle)
    app.cleanup_ctx.append(partial(loops.run, ports))
    app.router.add_routes(all_routes())
    return app


def build_admission(settings: Settings, adapters: Adapters, metrics: GatewayMetrics) -> Admission:
    """Return the limits on what is served at once."""
    limit = settings.MAX_CONCURRENT_REQUESTS
    several = len(settings.API_KEYS) + len(settings.ADMIN_API_KEYS) > 1
    per_key = settings.MAX_CONCURRENT_PER_KEY or (max(1, limit // 2) if several else 0)
    return Admission(limit=limit, per_key=per_key, clock=adapters.clock, metrics=metrics)


def build_ports(settings: Settings, adapters: Adapters, metrics: GatewayMetrics, supervisor: Supervisor) -> ChatPorts:
    """Return what the chat use case runs on."""
    clock = adapters.clock
    redis_timeout_s = settings.REDIS_TIMEOUT_MS / 1000
    catalogue = build_catalogue(settings, adapters.upstream, clock)

    def make_policy(default: ArmId | None) -> Policy[Any]:
        return build_policy(replace(settings.bandit(), default_arm=default))

    recorder = RecordWriter(
        adapters.log,
        adapters.queue,
        Spool(settings.SPOOL_DIR, max_bytes=settings.SPOOL_MAX_BYTES),
        timeout_s=redis_timeout_s,
        clock=clock,
        metrics=metrics,
    )
    cooldowns, learned_limits = CircuitBreakers(clock, lambda arm: catalogue.arm(arm).costs_money), LearnedLimits(clock)
    return ChatPorts(
        log=adapters.log,
        recorder=recorder,
        notices=Gossip(
            adapters.heartbeats,
            recorder,
            cooldowns,
            learned_limits,
            name=name_of(settings.PORT),
            clock=clock,
            timeout_s=LOAD_TIMEOUT_S,
        ),
        gatherer=ContextGatherer(
            adapters.embedder, adapters.index, _context_limits(settings), clock=clock, metrics=metrics
        ),
        posteriors=PosteriorCache(
            adapters.store, catalogue, make_policy, clock=clock, metrics=metrics, load_timeout_s=LOAD_TIMEOUT_S
        ),
        catalogue=catalogue,
        arm_list=RuntimeModels(adapters.arm_changes, catalogue, metrics=metrics, timeout_s=LOAD_TIMEOUT_S),
        free_arms=SharedFreeArms(catalogue, adapters.free_arms, timeout_s=LOAD_TIMEOUT_S),
        upstream=adapters.upstream,
        cooldowns=cooldowns,
        learned_limits=learned_limits,
        reserving=CircuitBreaker(clock, hiccup_s=HICCUP_S),
        clock=clock,
        metrics=metrics,
        supervisor=supervisor,
        rng=np.random.default_rng(),
        redis_timeout_s=redis_timeout_s,
        request_timeout_s=settings.REQUEST_TIMEOUT_S,
        exploration=ExplorationBudget(
            adapters.log, budget_usd=settings.EXPLORATION_BUDGET_USD, clock=clock, metrics=metrics
        ),
        session_margin=settings.SESSION_MARGIN,
        shadow_mode=settings.SHADOW_MODE,
        settings_hash=settings.decisive_hash(),
        prompt_chars=settings.prompt_chars,
        quotas=build_quotas(settings, clock),
        retries=RetryBudget(settings.RETRY_BUDGET),
        retry_ambiguous=settings.RETRY_AMBIGUOUS,
    )


def _context_limits(settings: Settings) -> ContextLimits:
    return ContextLimits(
        embed_timeout_s=settings.EMBED_TIMEOUT_MS / 1000,
        search_timeout_s=settings.SEARCH_TIMEOUT_MS / 1000,
        neighbours=settings.MAX_SIMILAR_REQUESTS,
        threshold=settings.SIMILARITY_THRESHOLD,
        recency_s=settings.RECENCY_DAYS * 86_400,
        max_chars=settings.EMBED_MAX_CHARS,
    )


def _health(adapters: Adapters, ports: ChatPorts, lifecycle: Readiness) -> Health:
    async def embedder() -> str:
        await adapters.embedder.embed(["health"])  # its name alone may be remembered, and says nothing of its state
        return (await adapters.embedder.model()).id

    probes = {"redis": adapters.redis_version, "qdrant": adapters.index.ping, "embedder": embedder}
    return Health(
        ports,
        lifecycle,
        probes=probes,
        queue=adapters.queue,
        heartbeats=adapters.heartbeats,
        version=VERSION,
        database=None if adapters.database is None else adapters.database.part,
    )
