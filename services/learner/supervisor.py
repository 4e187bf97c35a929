"""Keeps arq's worker running: it gives up whenever Redis restarts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Literal

from arq.worker import Worker
from redis.exceptions import RedisError

from shared.logs import get_logger
from shared.resilience.supervision import Supervisor

DRAIN_S = 20.0
"""How long jobs may go on after SIGTERM."""

_FIRST_REST_S = 0.25
_LONGEST_REST_S = 4.0
_RECANCEL_S = 0.2
WORKER = "worker"
_STABLE_S = 30.0
"""A worker that has run this long was healthy: the next rest is a short one again."""

_log = get_logger(__name__)


async def supervise(make_worker: Callable[[], Worker], stop: asyncio.Event, supervisor: Supervisor) -> None:
    """Run workers, one after another, until `stop` is set; then let the last one finish its jobs.

    What Redis does to a worker is never a reason to give up; too many other failures in a row are (`supervisor`).
    """
    loop, rest_s = asyncio.get_running_loop(), _FIRST_REST_S
    stopping = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        began = loop.time()
        try:
            await _run(make_worker(), stopping, supervisor)
        except Exception as error:  # noqa: BLE001 - the edge of the worker
            supervisor.failed(WORKER, error)
        if stop.is_set():
            break
        rest_s = _FIRST_REST_S if loop.time() - began > _STABLE_S else min(2 * rest_s, _LONGEST_REST_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), rest_s)
    stopping.cancel()


async def _run(worker: Worker, stopping: asyncio.Task[Literal[True]], supervisor: Supervisor) -> None:
    running = asyncio.ensure_future(worker.async_run())
    ends: set[asyncio.Future[Any]] = {running, stopping}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        _explain(running, supervisor)
    else:
        await _finish_jobs(worker)
    await _close(worker, running)


def _explain(running: asyncio.Future[None], supervisor: Supervisor) -> None:
    error = asyncio.CancelledError() if running.cancelled() else running.exception()
    if isinstance(error, RedisError | OSError):
        supervisor.count(WORKER, error)
        _log.warning("worker stopped, starting again", error=type(error).__name__)
    else:
        supervisor.failed(WORKER, error)


async def _finish_jobs(worker: Worker) -> None:
    worker.allow_pick_jobs = False
    tasks = [task for task in worker.tasks.values() if not task.done()]
    if tasks:
        await asyncio.wait(tasks, timeout=DRAIN_S)


async def _close(worker: Worker, running: asyncio.Future[None]) -> None:
    """Cancel what is left and close arq's connections; arq's own `close` fails when Redis is away."""
    left = [running, *worker.tasks.values()]
    until = asyncio.get_running_loop().time() + DRAIN_S
    while asyncio.get_running_loop().time() < until and (waiting := [task for task in left if not task.done()]):
        # Once is not enough: `asyncio.wait_for` of Python 3.11, which redis-py sends through, may swallow it.
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting, timeout=_RECANCEL_S)
    await asyncio.gather(*(task for task in left if task.done()), return_exceptions=True)
    with contextlib.suppress(RedisError, OSError):
        await worker.pool.delete(worker.health_check_key)
    with contextlib.suppress(RedisError, OSError):
        await worker.pool.aclose(close_connection_pool=True)
