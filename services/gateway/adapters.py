"""Adapters of a gateway: one implementation of each port. Tests pass fakes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from services.gateway.models.runtime_models import ArmChanges, FreeArmMemory
from services.gateway.process.database_health import DatabaseHealth
from services.gateway.records.prompt_store import PromptStore
from shared.clients.embedder_client import CoalescingEmbedder, HttpEmbedder
from shared.clients.http_upstreams import HttpUpstreams
from shared.clock import SystemClock
from shared.evaluation_queue import EvaluationQueue
from shared.models_file import ModelsFile
from shared.ports import Clock, Embedder, EventQueue, Heartbeats, PosteriorStore, RequestIndex, RequestLog
from shared.posterior_history import PosteriorHistory
from shared.quick_http import QuickHttp
from shared.record_archive import RecordArchive
from shared.request_list import RequestList
from shared.settings import Settings
from shared.storage.qdrant_index import QdrantIndex
from shared.storage.redis_arms import RedisArmChanges, RedisFreeArms
from shared.storage.redis_connection import connect, probe
from shared.storage.redis_database_reports import RedisDatabaseReports
from shared.storage.redis_evaluations import RedisEvaluationQueue
from shared.storage.redis_outbox import RedisOutbox
from shared.storage.redis_posterior_history import RedisPosteriorHistory
from shared.storage.redis_posteriors import RedisPosteriorStore
from shared.storage.redis_queue import RedisEventQueue, RedisHeartbeats
from shared.storage.redis_request_list import RedisRequestList
from shared.storage.redis_requests import RedisRequestLog
from shared.storage.redis_traffic import RedisTraffic
from shared.tracing import IdTracer, Tracer
from shared.traffic import Traffic
from shared.upstreams import Upstreams

ARCHIVE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Adapters:
    """One implementation of each port.

    Attributes:
        redis_version: returns the version of a Redis that takes writes.
        database: PostgreSQL's part of `/health`, where there is a history.
        prompts: where prompts are stored, None if they are not.
    """

    embedder: Embedder
    index: RequestIndex
    log: RequestLog
    request_list: RequestList
    traffic: Traffic
    posterior_history: PosteriorHistory
    store: PosteriorStore
    queue: EventQueue
    heartbeats: Heartbeats
    arm_changes: ArmChanges
    free_arms: FreeArmMemory
    evaluations: EvaluationQueue
    upstreams: Upstreams
    clock: Clock
    redis_version: Callable[[], Awaitable[str]]
    database: DatabaseHealth | None = None
    prompts: PromptStore | None = None
    tracer: Tracer = field(default_factory=IdTracer)


def open_tracer(settings: Settings) -> Tracer:
    """Return the tracer that exports spans where the settings want it, else one that makes ids only."""
    endpoint = settings.OTEL_EXPORTER_OTLP_ENDPOINT
    if endpoint is None:
        return IdTracer()
    from shared.clients.otel import OtelTracer  # noqa: PLC0415 - an extra, which need not be installed

    return OtelTracer.to_endpoint("gateway", endpoint)


def _prompts(settings: Settings) -> PromptStore | None:
    """Return the store of prompts where the settings want one."""
    if not settings.prompt_chars:
        return None
    from shared.storage.postgres_prompts import PostgresPrompts  # noqa: PLC0415 - most gateways need no PostgreSQL

    return PostgresPrompts(settings)


def _archive(settings: Settings, stack: AsyncExitStack) -> RecordArchive | None:
    """Return the records in the history, where there is one. It connects when one is read."""
    if not settings.ENABLE_PERSISTENCE:
        return None
    from shared.storage.postgres_history import PostgresHistory  # noqa: PLC0415 - most gateways need no PostgreSQL

    history = PostgresHistory(settings, timeout_s=ARCHIVE_TIMEOUT_S)
    stack.push_async_callback(history.close)
    return history


@asynccontextmanager
async def open_adapters(settings: Settings, file: ModelsFile) -> AsyncIterator[Adapters]:
    """Open the real adapters. No call is made yet: every dependency may be away."""
    async with AsyncExitStack() as stack:
        # One pool per destination: a slow upstream must not starve the embedder of connections.
        async def pool(http: QuickHttp) -> QuickHttp:
            return await stack.enter_async_context(http)

        redis = connect(settings)
        stack.push_async_callback(redis.aclose)
        clock, traffic = SystemClock(), RedisTraffic(redis, days=settings.STATS_DAYS)
        embed_s = settings.EMBED_TIMEOUT_MS / 1000
        qdrant_key = settings.QDRANT_API_KEY

        archive = _archive(settings, stack)
        upstreams = HttpUpstreams(settings, file)
        stack.callback(upstreams.close)
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
                story_s=settings.STORY_HOURS * 3600,
                clock=clock,
                history_bound=settings.history_bound,
                traffic=settings.traffic_bounds,
                count=traffic.count,
                archive=archive,
            ),
            request_list=RedisRequestList(redis, archive),
            traffic=traffic,
            posterior_history=RedisPosteriorHistory(redis, days=settings.STATS_DAYS),
            store=RedisPosteriorStore(redis, recency_days=settings.RECENCY_DAYS, clock=clock),
            queue=RedisEventQueue(redis),
            heartbeats=RedisHeartbeats(redis),
            arm_changes=RedisArmChanges(redis),
            free_arms=RedisFreeArms(redis),
            evaluations=RedisEvaluationQueue(redis, history_bound=settings.history_bound),
            upstreams=upstreams,
            clock=clock,
            redis_version=partial(probe, redis),
            database=DatabaseHealth(RedisDatabaseReports(redis), RedisOutbox(redis))
            if settings.ENABLE_PERSISTENCE
            else None,
            prompts=_prompts(settings),
        )
