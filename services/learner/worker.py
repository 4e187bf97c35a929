"""The learner process: the one place that names adapters."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import secrets
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from arq.connections import ArqRedis
from arq.worker import Worker

from services.learner.clusterer import Clusterer
from services.learner.database_watch import DatabaseWatch
from services.learner.historian import Historian
from services.learner.index import Indexer
from services.learner.learn import EventLearner, RedeliveryPolicy
from services.learner.status import make_status_app, serving
from services.learner.supervisor import DRAIN_S, supervise
from services.learner.tasks import Duties, crons, functions
from services.learner.vitals import EVERY_S, Vitals
from shared import __version__
from shared.clients.embedder_client import HttpEmbedder
from shared.clock import SystemClock
from shared.logs import get_logger
from shared.metrics import LearnerMetrics, ProcessMetrics, new_registry
from shared.ports import Clock
from shared.quick_http import QuickHttp
from shared.resilience.supervision import Supervisor
from shared.schemas.storage import EmbeddingModel
from shared.settings import Settings
from shared.stop_signals import stop_event
from shared.storage import redis_keys
from shared.storage.qdrant_index import QdrantIndex
from shared.storage.redis_connection import SOCKET_TIMEOUT_S, Client, connect, eviction_policy, memory_of
from shared.storage.redis_database_reports import RedisDatabaseReports
from shared.storage.redis_outbox import RedisOutbox
from shared.storage.redis_pool import open_pool
from shared.storage.redis_posteriors import RedisPosteriorStore
from shared.storage.redis_queue import RedisEventQueue, RedisHeartbeats
from shared.storage.redis_recount import RedisRecounter
from shared.storage.redis_requests import RedisRequestLog

if TYPE_CHECKING:
    from shared.storage.postgres_history import PostgresHistory

CALL_TIMEOUT_S = 4.0
"""For embedder and Qdrant: nobody waits for the index, but a job has to end in time."""

_POLL_S = 0.1
"""How often arq looks for jobs. Each look and each wake-up costs as much as a dozen events."""

_JOB_TIMEOUT_S = 20
_MAX_TRIES = 1000
"""A job runs again after each crash of its learner; arq would drop it for good at the fifth."""

_READ_LIMIT = 1000
"""Jobs that arq looks at in one go; the oldest come first, and stuck ones must not hide the rest."""

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Adapters:
    """What the learner and its commands work with, made of one set of settings."""

    settings: Settings
    clock: Clock
    client: Client
    queue: RedisEventQueue
    heartbeats: RedisHeartbeats
    outbox: RedisOutbox
    log: RedisRequestLog
    posteriors: RedisPosteriorStore
    index: QdrantIndex
    embedder: QuickHttp

    async def ask_model(self) -> EmbeddingModel:
        """Ask the embedder which model it is."""
        # The client remembers the model until it has embedded with another; we only ask, so we ask with a new one.
        return await HttpEmbedder(self.embedder, timeout_s=CALL_TIMEOUT_S).model()

    def historian(self, history: PostgresHistory, metrics: LearnerMetrics) -> Historian:
        """Return who writes what waits into `history`."""
        decisive = self.settings.decisive_hash(), self.settings.decisive()
        return Historian(self.outbox, history, self.posteriors, *decisive, clock=self.clock, metrics=metrics)


@contextlib.asynccontextmanager
async def open_adapters(settings: Settings) -> AsyncIterator[Adapters]:
    """Connect lazily, close at the end."""
    clock, client = SystemClock(), connect(settings)
    window_s, bound = settings.FEEDBACK_WINDOW_HOURS * 3600.0, settings.history_bound
    days, key = settings.RECENCY_DAYS, settings.QDRANT_API_KEY
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(client.aclose, close_connection_pool=True)
        qdrant = await stack.enter_async_context(QuickHttp(settings.QDRANT_URL))
        yield Adapters(
            settings=settings,
            clock=clock,
            client=client,
            queue=RedisEventQueue(client),
            heartbeats=RedisHeartbeats(client),
            outbox=RedisOutbox(client),
            log=RedisRequestLog(client, window_s=window_s, clock=clock, history_bound=bound),
            posteriors=RedisPosteriorStore(client, recency_days=days, clock=clock, history_bound=bound),
            index=QdrantIndex(qdrant, api_key=key.get_secret_value() if key else None, timeout_s=CALL_TIMEOUT_S),
            embedder=await stack.enter_async_context(QuickHttp(settings.EMBEDDER_URL)),
        )


@contextlib.asynccontextmanager
async def open_history(settings: Settings, *, timeout_s: float = CALL_TIMEOUT_S) -> AsyncIterator[PostgresHistory]:
    """Open the history. Imported here: without it nobody pays for the driver."""
    module = importlib.import_module("shared.storage.postgres_history")
    history: PostgresHistory = module.PostgresHistory(settings, timeout_s=timeout_s)
    try:
        yield history
    finally:
        await history.close()


async def run(settings: Settings, patience: RedeliveryPolicy | None = None) -> int:
    """Learn until SIGTERM or SIGINT; return the exit code, which is 1 where a loop could not be kept."""
    stop = stop_event()
    worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    registry = new_registry("learner")
    supervisor = Supervisor(ProcessMetrics(registry).restarts)
    supervisor.on_broken = stop.set
    metrics = LearnerMetrics(registry)
    async with contextlib.AsyncExitStack() as stack:
        adapters = await stack.enter_async_context(open_adapters(settings))
        duties = _duties(adapters, worker, metrics, patience)
        loops = {}
        if settings.ENABLE_PERSISTENCE:
            history = await stack.enter_async_context(open_history(settings))
            duties.historian = adapters.historian(history, metrics)
            watch = DatabaseWatch(worker, history, duties.historian, RedisDatabaseReports(adapters.client))
            loops["database"] = watch.run
        vitals = Vitals(
            worker,
            __version__,
            heartbeats=adapters.heartbeats,
            queue=adapters.queue,
            outbox=adapters.outbox,
            memory=partial(memory_of, adapters.client),
            metrics=metrics,
        )
        app = make_status_app(vitals, registry, supervisor)
        await stack.enter_async_context(serving(app, settings.LEARNER_HOST, settings.LEARNER_PORT))
        await stack.enter_async_context(supervisor.running({"heartbeat": vitals.run, **loops}))
        stopping = asyncio.create_task(_stop_duties(stop, duties))
        stack.callback(stopping.cancel)
        _log.info("learner runs", worker=worker)
        await supervise(lambda: _make_worker(settings, worker, duties), stop, supervisor)
    _log.info("learner stopped", worker=worker)
    return 0 if supervisor.broken is None else 1


async def _stop_duties(stop: asyncio.Event, duties: Duties) -> None:
    await stop.wait()
    duties.stop()


def _duties(adapters: Adapters, worker: str, metrics: LearnerMetrics, patience: RedeliveryPolicy | None) -> Duties:
    log, posteriors, index, clock = adapters.log, adapters.posteriors, adapters.index, adapters.clock
    days = adapters.settings.RECENCY_DAYS
    indexer = Indexer(log=log, index=index, ask_model=adapters.ask_model, clock=clock, recency_days=days)
    return Duties(
        learner=EventLearner(
            worker, queue=adapters.queue, log=log, posteriors=posteriors, clock=clock, metrics=metrics,
            patience=patience,
        ),
        indexer=indexer,
        clusterer=Clusterer(
            log=log,
            index=index,
            indexer=indexer,
            posteriors=posteriors,
            recounter=RedisRecounter(adapters.client, clock=clock),
            clock=clock,
            metrics=metrics,
            recency_days=days,
        ),
        posteriors=posteriors,
        queue=adapters.queue,
        clock=clock,
        recency_days=days,
    )  # fmt: skip


async def _check_eviction(ctx: dict[Any, Any]) -> None:
    policy = await eviction_policy(ctx["redis"])
    if policy not in ("noeviction", None):
        _log.error("Redis may throw learned state away: set maxmemory-policy to noeviction", policy=policy)


def _make_worker(settings: Settings, name: str, duties: Duties) -> Worker:
    # arq's own settings print the password and know no socket timeout: it gets a ready connection pool.
    redis = ArqRedis(
        open_pool(settings.REDIS_URL, SOCKET_TIMEOUT_S),
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
