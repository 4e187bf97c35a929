"""Composition root of the learner process: adapters, jobs, background loops and the arq worker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from functools import partial
from typing import Any

import orjson
from arq.connections import ArqRedis
from arq.worker import Worker, func

from services.learner.adapters import Adapters, open_adapters, open_history, open_upstreams
from services.learner.evaluating.evaluator import Evaluator, make_evaluator
from services.learner.evaluating.worker import EvaluationWorker
from services.learner.jobs import jobs
from services.learner.jobs.jobs import LearnerJobs
from services.learner.jobs.worker_loop import DRAIN_S, keep_worker_running
from services.learner.learning.apply_events import EventLearner, RedeliveryPolicy
from services.learner.learning.assign_kinds import KindAssigner
from services.learner.process.database_probe import DatabaseProbe
from services.learner.process.health import make_health_app, serving
from services.learner.process.heartbeat import EVERY_S, HeartbeatLoop
from services.learner.process.models_file_loop import ModelsFileLoop
from services.learner.writers.index_writer import IndexWriter
from shared import __version__
from shared.logs import get_logger
from shared.metrics import LearnerMetrics, ProcessMetrics, new_registry
from shared.models_file import models_of
from shared.models_file.watch import ModelsFileWatch
from shared.resilience.supervision import Supervisor
from shared.settings import Settings, variables
from shared.stop_signals import stop_event
from shared.storage import redis_keys
from shared.storage.redis_connection import SOCKET_TIMEOUT_S, eviction_policy, memory_of
from shared.storage.redis_database_reports import RedisDatabaseReports
from shared.storage.redis_pool import open_pool
from shared.storage.redis_queue import LEARN_JOB

_POLL_S = 0.1
"""How often arq looks for jobs. Each look and each wake-up costs as much as a dozen events."""

_JOB_TIMEOUT_S = 20
_MAX_TRIES = 1000
"""A job runs again after each crash of its learner; arq's default would drop it for good at the fifth."""

_READ_LIMIT = 1000
"""Jobs that arq reads per look. The oldest come first, and stuck ones must not hide the rest."""

_log = get_logger(__name__)


async def run(settings: Settings, redelivery: RedeliveryPolicy | None = None) -> int:
    """Learn until SIGTERM or SIGINT; return the exit code, 1 when a background loop kept failing."""
    stop = stop_event()
    worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    registry = new_registry("learner")
    supervisor = Supervisor(ProcessMetrics(registry).restarts)
    supervisor.on_broken = stop.set
    metrics = LearnerMetrics(registry)
    async with contextlib.AsyncExitStack() as stack:
        adapters = await stack.enter_async_context(open_adapters(settings))
        learner_jobs = _make_jobs(adapters, worker, metrics, redelivery)
        loops = {}
        if settings.ENABLE_PERSISTENCE:
            history = await stack.enter_async_context(open_history(settings))
            writer = learner_jobs.history_writer = adapters.history_writer(history, metrics)
            loops["database"] = DatabaseProbe(worker, history, writer, RedisDatabaseReports(adapters.client)).run
        if settings.JUDGE_MODEL is not None:
            upstreams = await stack.enter_async_context(open_upstreams(settings))
            watch = ModelsFileWatch(settings.MODELS_FILE, lambda: models_of(settings, variables()))
            loops["models file"] = ModelsFileLoop(watch, upstreams).run
            evaluator = make_evaluator(upstreams, settings.JUDGE_MODEL, settings, adapters.clock)
            loops["evaluations"] = _make_evaluation_worker(adapters, evaluator, worker, metrics).run
        heartbeat = HeartbeatLoop(
            worker,
            __version__,
            heartbeats=adapters.heartbeats,
            queue=adapters.queue,
            outbox=adapters.outbox,
            memory=partial(memory_of, adapters.client),
            metrics=metrics,
        )
        app = make_health_app(heartbeat, registry, supervisor)
        await stack.enter_async_context(serving(app, settings.LEARNER_HOST, settings.LEARNER_PORT))
        await stack.enter_async_context(supervisor.running({"heartbeat": heartbeat.run, **loops}))
        stopping = asyncio.create_task(_stop_jobs(stop, learner_jobs))
        stack.callback(stopping.cancel)
        _log.info("learner runs", worker=worker)
        await keep_worker_running(lambda: _make_worker(settings, worker, learner_jobs), stop, supervisor)
    _log.info("learner stopped", worker=worker)
    return 0 if supervisor.broken is None else 1


def _make_evaluation_worker(
    adapters: Adapters, evaluator: Evaluator, name: str, metrics: LearnerMetrics
) -> EvaluationWorker:
    return EvaluationWorker(
        adapters.evaluations, evaluator, adapters.heartbeats, consumer=name, clock=adapters.clock, metrics=metrics
    )


async def _stop_jobs(stop: asyncio.Event, learner_jobs: LearnerJobs) -> None:
    await stop.wait()
    learner_jobs.stop()


def _make_jobs(
    adapters: Adapters, worker: str, metrics: LearnerMetrics, redelivery: RedeliveryPolicy | None
) -> LearnerJobs:
    log, posteriors, index, clock = adapters.log, adapters.posteriors, adapters.index, adapters.clock
    settings = adapters.settings
    days = settings.RECENCY_DAYS
    index_writer = IndexWriter(
        log=log,
        index=index,
        fetch_model=adapters.fetch_model,
        clock=clock,
        point_days=settings.point_days(days),
    )
    kinds = KindAssigner(store=adapters.kinds, log=log, fetch_model=adapters.fetch_model, clock=clock, metrics=metrics)
    return LearnerJobs(
        learner=EventLearner(
            worker, queue=adapters.queue, log=log, posteriors=posteriors, kinds=kinds, clock=clock, metrics=metrics,
            redelivery=redelivery,
        ),
        index_writer=index_writer,
        posteriors=posteriors,
        queue=adapters.queue,
        clock=clock,
        recency_days=days,
    )  # fmt: skip


async def _check_eviction(ctx: dict[Any, Any]) -> None:
    policy = await eviction_policy(ctx["redis"])
    if policy not in ("noeviction", None):
        _log.error("Redis may evict learned state: set maxmemory-policy to noeviction", policy=policy)


def _make_worker(settings: Settings, name: str, learner_jobs: LearnerJobs) -> Worker:
    # arq's own settings print the password and have no socket timeout: it gets a ready connection pool.
    redis = ArqRedis(
        open_pool(settings.REDIS_URL, SOCKET_TIMEOUT_S),
        job_serializer=orjson.dumps,
        job_deserializer=orjson.loads,
        default_queue_name=redis_keys.ARQ_QUEUE,
    )
    return Worker(
        functions=[func(jobs.learn, name=LEARN_JOB, keep_result=0)],
        cron_jobs=jobs.cron_jobs(),
        queue_name=redis_keys.ARQ_QUEUE,
        redis_pool=redis,
        ctx={"jobs": learner_jobs},
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
