"""The learner's supervisor ends when it is told to."""

import asyncio
import time
from typing import Any, cast

from arq.worker import Worker

from services.learner.jobs.worker_loop import keep_worker_running
from tests.support.fakes.supervision import new_supervisor


class Pool:
    async def delete(self, _key: str) -> None: ...

    async def aclose(self, *, close_connection_pool: bool) -> None: ...


class Deaf:
    """A worker that, like redis-py on Python 3.11 now and then, swallows the first cancellation."""

    def __init__(self) -> None:
        self.tasks: dict[str, asyncio.Task[Any]] = {}
        self.pool = Pool()
        self.health_check_key = "health"
        self.allow_pick_jobs = True
        self.swallowed = 0

    async def async_run(self) -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if self.swallowed:
                    raise
                self.swallowed += 1


async def test_a_swallowed_cancellation_delays_the_end_by_a_blink() -> None:
    """A worker that misses one cancellation gets another at once: a stop takes no twenty seconds."""
    worker, stop = Deaf(), asyncio.Event()
    running = asyncio.create_task(keep_worker_running(lambda: cast("Worker", worker), stop, new_supervisor()))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    stop.set()
    await asyncio.wait_for(running, 5)
    assert worker.swallowed == 1
    assert time.monotonic() - began < 2
