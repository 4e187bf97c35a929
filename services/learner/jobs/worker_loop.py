"""Worker loop: starts arq's worker again whenever it ends, as it does when Redis restarts."""

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
"""How long running jobs may take to finish after SIGTERM."""

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 4.0
_RECANCEL_S = 0.2
WORKER = "worker"
_STABLE_S = 30.0
"""A worker that has run this long was healthy: the pause before the next one is short again."""

_log = get_logger(__name__)


async def keep_worker_running(make_worker: Callable[[], Worker], stop: asyncio.Event, supervisor: Supervisor) -> None:
    """Run one worker after another until `stop` is set; then let the last one finish its jobs.

    Failures of Redis never end the process; too many other failures in a row do (`supervisor`).
    """
    loop, pause_s = asyncio.get_running_loop(), _FIRST_PAUSE_S
    stopping = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        began = loop.time()
        try:
            await _run(make_worker(), stopping, supervisor)
        except Exception as error:  # noqa: BLE001 - the edge of the worker
            supervisor.failed(WORKER, error)
        if stop.is_set():
            break
        pause_s = _FIRST_PAUSE_S if loop.time() - began > _STABLE_S else min(2 * pause_s, _LONGEST_PAUSE_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause_s)
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
        _log.warning("worker ended, starting again", error=type(error).__name__)
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
        # Repeated, because `asyncio.wait_for` of Python 3.11, which redis-py uses, may swallow a cancellation.
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting, timeout=_RECANCEL_S)
    await asyncio.gather(*(task for task in left if task.done()), return_exceptions=True)
    with contextlib.suppress(RedisError, OSError):
        await worker.pool.delete(worker.health_check_key)
    with contextlib.suppress(RedisError, OSError):
        await worker.pool.aclose(close_connection_pool=True)
