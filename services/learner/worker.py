"""The learner process: the one place that names adapters."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import secrets
import signal
import socket
from typing import TYPE_CHECKING, Any

import orjson
from arq.connections import ArqRedis
from arq.worker import Worker
from redis.asyncio import ConnectionPool

from services.learner.clusterer import Clusterer
from services.learner.historian import Historian
from services.learner.index import Indexer
from services.learner.learn import EventLearner, Patience
from services.learner.status import make_status_app, serving
from services.learner.supervisor import DRAIN_S, supervise
from services.learner.tasks import Duties, crons, functions
from services.learner.vitals import EVERY_S, Vitals
from shared import __version__
from shared.clients.embedder_client import HttpEmbedder
from shared.clock import SystemClock
from shared.logs import get_logger
from shared.metrics import LearnerMetrics, new_registry
from shared.ports import Clock
from shared.quick_http import QuickHttp
from shared.schemas.storage import EmbeddingModel
from shared.settings import Settings
from shared.storage import redis_keys
from shared.storage.qdrant_index import QdrantIndex
from shared.storage.redis_connection import SOCKET_TIMEOUT_S, Client, connect, connection_options, eviction_policy
from shared.storage.redis_outbox import RedisOutbox
from shared.storage.redis_posteriors import RedisPosteriorStore
from shared.storage.redis_queue import RedisEventQueue, RedisHeartbeats
from shared.storage.redis_recount import RedisRecounter
from shared.storage.redis_requests import RedisRequestLog

if TYPE_CHECKING:
    from shared.storage.postgres_history import PostgresHistory

CALL_TIMEOUT_S = 4.0
"""For embedder and Qdrant: nobody waits for the index, but a job has to end in time."""

_POLL_S = 0.05
"""How often arq looks for jobs; half a wake-up's delay."""

_JOB_TIMEOUT_S = 20
_MAX_TRIES = 1000
"""A job runs again after each crash of its learner; arq would drop it for good at the fifth."""

_READ_LIMIT = 1000
"""Jobs that arq looks at in one go; the oldest come first, and stuck ones must not hide the rest."""

_log = get_logger(__name__)


async def run(settings: Settings, patience: Patience | None = None) -> None:
    """Learn until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    registry = new_registry("learner")
    metrics, clock = LearnerMetrics(registry), SystemClock()
    client = connect(settings)
    queue = RedisEventQueue(client)
    vitals = Vitals(
        worker,
        __version__,
        heartbeats=RedisHeartbeats(client),
        queue=queue,
        outbox=RedisOutbox(client),
        metrics=metrics,
    )
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(client.aclose, close_connection_pool=True)
        qdrant = await stack.enter_async_context(QuickHttp(settings.QDRANT_URL))
        embedder = await stack.enter_async_context(QuickHttp(settings.EMBEDDER_URL))
        duties = _duties(
            settings,
            worker=worker,
            client=client,
            qdrant=qdrant,
            embedder=embedder,
            queue=queue,
            clock=clock,
            metrics=metrics,
            patience=patience,
        )
        if settings.ENABLE_PERSISTENCE:
            history = open_history(settings)
            stack.push_async_callback(history.close)
            duties.historian = Historian(
                RedisOutbox(client), history, duties.posteriors, settings.decisive_hash(), settings.decisive(),
                clock=clock, metrics=metrics,
            )  # fmt: skip
        app = make_status_app(vitals, registry)
        await stack.enter_async_context(serving(app, settings.LEARNER_HOST, settings.LEARNER_PORT))
        beating = asyncio.create_task(vitals.run())
        stack.callback(beating.cancel)
        stopping = asyncio.create_task(_stop_duties(stop, duties))
        stack.callback(stopping.cancel)
        _log.info("learner runs", worker=worker)
        await supervise(lambda: _make_worker(settings, worker, duties), stop)
    _log.info("learner stopped", worker=worker)


def open_history(settings: Settings, *, timeout_s: float = CALL_TIMEOUT_S) -> PostgresHistory:
    """Return the history. Imported here: without it nobody pays for the driver."""
    module = importlib.import_module("shared.storage.postgres_history")
    history: PostgresHistory = module.PostgresHistory(settings, timeout_s=timeout_s)
    return history


def make_index(settings: Settings, http: QuickHttp) -> QdrantIndex:
    """Return the index."""
    key = settings.QDRANT_API_KEY
    return QdrantIndex(http, api_key=key.get_secret_value() if key else None, timeout_s=CALL_TIMEOUT_S)


async def _stop_duties(stop: asyncio.Event, duties: Duties) -> None:
    await stop.wait()
    duties.stop()


def stores(settings: Settings, client: Client, clock: Clock) -> tuple[RedisRequestLog, RedisPosteriorStore]:
    """Return the requests and what was learned of them."""
    window_s = settings.FEEDBACK_WINDOW_HOURS * 3600.0
    log = RedisRequestLog(client, window_s=window_s, clock=clock, history_bound=settings.history_bound)
    return log, RedisPosteriorStore(
        client, recency_days=settings.RECENCY_DAYS, clock=clock, history_bound=settings.history_bound
    )


def _duties(
    settings: Settings,
    *,
    worker: str,
    client: Client,
    qdrant: QuickHttp,
    embedder: QuickHttp,
    queue: RedisEventQueue,
    clock: SystemClock,
    metrics: LearnerMetrics,
    patience: Patience | None,
) -> Duties:
    days = settings.RECENCY_DAYS
    log, posteriors = stores(settings, client, clock)

    async def ask_model() -> EmbeddingModel:
        # The client remembers the model until it has embedded with another; we only ask, so we ask with a new one.
        return await HttpEmbedder(embedder, timeout_s=CALL_TIMEOUT_S).model()

    index = make_index(settings, qdrant)
    indexer = Indexer(log=log, index=index, ask_model=ask_model, clock=clock, recency_days=days)
    return Duties(
        learner=EventLearner(
            worker, queue=queue, log=log, posteriors=posteriors, clock=clock, metrics=metrics, patience=patience
        ),
        indexer=indexer,
        clusterer=Clusterer(
            log=log,
            index=index,
            indexer=indexer,
            posteriors=posteriors,
            recounter=RedisRecounter(client, clock=clock),
            clock=clock,
            metrics=metrics,
            recency_days=days,
        ),
        posteriors=posteriors,
        queue=queue,
        clock=clock,
        recency_days=days,
    )


async def _check_eviction(ctx: dict[Any, Any]) -> None:
    policy = await eviction_policy(ctx["redis"])
    if policy not in ("noeviction", None):
        _log.error("Redis may throw learned state away: set maxmemory-policy to noeviction", policy=policy)


def _make_worker(settings: Settings, name: str, duties: Duties) -> Worker:
    # arq's own settings print the password and know no socket timeout: it gets a ready connection pool.
    url = settings.REDIS_URL
    pool = ConnectionPool.from_url(url, **connection_options(url, SOCKET_TIMEOUT_S))
    redis = ArqRedis(
        pool,
        job_serializer=orjson.dumps,
        job_deserializer=orjson.loads,
        default_queue_name=redis_keys.ARQ_QUEUE,
    )
    return Worker(
        functions=functions(),
        cron_jobs=crons(),
        queue_name=redis_keys.ARQ_QUEUE,
        redis_pool=redis,
        ctx={"duties": duties},
        on_startup=_check_eviction,
        handle_signals=False,
        job_completion_wait=round(DRAIN_S),
        job_timeout=_JOB_TIMEOUT_S,
        keep_result=0,
        max_tries=_MAX_TRIES,
        poll_delay=_POLL_S,
        queue_read_limit=_READ_LIMIT,
        health_check_interval=EVERY_S,
        health_check_key=redis_keys.arq_health(name),
        job_serializer=orjson.dumps,
        job_deserializer=orjson.loads,
        log_results=False,
    )
