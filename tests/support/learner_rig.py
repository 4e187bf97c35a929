"""Learner processes on a Redis of the test's own, and traffic for them."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.servers import Server, free_port, redis_command
from shared.clock import SystemClock
from shared.schemas.storage import RatingTerms, Verdict
from shared.settings import Settings
from shared.storage.redis_connection import Client, connect
from shared.storage.redis_evaluations import RedisEvaluationQueue
from shared.storage.redis_posteriors import RedisPosteriorStore
from shared.storage.redis_queue import RedisEventQueue, RedisHeartbeats
from shared.storage.redis_requests import RedisRequestLog
from tests.support.kinds import unit_vectors
from tests.support.sample_records import a_new_record
from tests.support.values import replace

NOWHERE = "http://127.0.0.1:1"
"""Embedder and Qdrant are away: learning must not care."""


@dataclass
class Rig:
    """One Redis (AOF, fsync always) and any number of learners."""

    folder: Path
    url: str
    redis: Server
    port: int
    client: Client
    learners: list[Server] = field(default_factory=list)

    def __post_init__(self) -> None:
        clock = SystemClock()
        self.log = RedisRequestLog(self.client, window_s=3600.0, clock=clock)
        self.posteriors = RedisPosteriorStore(self.client, recency_days=30.0, clock=clock)
        self.queue = RedisEventQueue(self.client)
        self.heartbeats = RedisHeartbeats(self.client)
        self.evaluations = RedisEvaluationQueue(self.client)

    def environment(self, **more: str) -> dict[str, str]:
        away = {"EMBEDDER_URL": NOWHERE, "QDRANT_URL": NOWHERE, "LEARNER_PORT": "0", "LOG_FORMAT": "json"}
        return {"REDIS_URL": self.url, **away, **more}

    def start_learner(self, module: str = "tests.support.impatient_learner", **more: str) -> Server:
        """Start a learner process; it is stopped with the rig."""
        log = self.folder / f"learner{len(self.learners)}.log"
        learner = Server("learner", [sys.executable, "-m", module], log, self.environment(**more))
        learner.start()
        self.learners.append(learner)
        return learner

    async def living(self, number: int) -> None:
        """Wait until so many learners beat."""
        await until(lambda: self._alive(number))

    async def _alive(self, number: int) -> bool:
        return len(await self.heartbeats.alive()) >= number

    async def idle(self) -> bool:
        """Whether the stream is empty."""
        return (await self.queue.depth()).waiting == 0

    async def record(self, number: int) -> list[str]:
        """Record requests; return their ids."""
        vectors = unit_vectors(number, seed=number)
        entries = [replace(a_new_record(time.time()), vector=vector) for vector in vectors]
        for at in range(0, number, 100):
            await self.log.record(entries[at : at + 100])
        return [entry.record.id for entry in entries]

    async def rate(self, own_id: str, score: float, terms: RatingTerms | None = None) -> Verdict:
        """Rate as the gateway does."""
        now = time.time()
        return await self.log.rate(owner="public", public_id=own_id, score=score, text=None, now=now, terms=terms)


@asynccontextmanager
async def learner_rig(folder: Path) -> AsyncIterator[Rig]:
    """A Redis of its own, that may be killed; everything is stopped at the end."""
    port = free_port()
    server = Server("redis", [*redis_command(port, folder / "redis"), "--appendfsync", "always"], folder / "redis.log")
    url = f"redis://127.0.0.1:{port}/0"
    server.start()
    rig = Rig(folder, url, server, port, connect(Settings(REDIS_URL=url)))
    try:
        server.wait_for_port(port)
        yield rig
    finally:
        for learner in rig.learners:
            learner.kill()
        await rig.client.aclose(close_connection_pool=True)
        server.kill()


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float = 30.0) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(timeout_s):
        while not await condition():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.02)
