"""Keeps arq's worker running: it gives up whenever Redis restarts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from arq.worker import Worker
from redis.exceptions import RedisError

from shared.logs import get_logger

DRAIN_S = 20.0
"""How long jobs may go on after SIGTERM."""

_FIRST_REST_S = 0.25
_LONGEST_REST_S = 4.0
_RECANCEL_S = 0.2
_STABLE_S = 30.0
"""A worker that has run this long was healthy: the next rest is a short one again."""

_log = get_logger(__name__)


async def supervise(make_worker: Callable[[], Worker], stop: asyncio.Event) -> None:
    """Run workers, one after another, until `stop` is set; then let the last one finish its jobs."""
    loop, rest_s = asyncio.get_running_loop(), _FIRST_REST_S
    stopping = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        began, worker = loop.time(), make_worker()
        running = asyncio.ensure_future(worker.async_run())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            _explain(running)
        else:
            await _finish_jobs(worker)
        await _close(worker, running)
        if stop.is_set():
            break
        rest_s = _FIRST_REST_S if loop.time() - began > _STABLE_S else min(2 * rest_s, _LONGEST_REST_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), rest_s)
    stopping.cancel()


def _explain(running: asyncio.Future[None]) -> None:
    error = running.exception()
    if isinstance(error, RedisError | OSError):
        _log.warning("worker stopped, starting again", error=type(error).__name__)
    else:
        _log.error("worker failed, starting again", exc_info=error)


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
