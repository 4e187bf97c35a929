"""Heartbeat of a learner, which the gateways' `/health` reads, and the gauges of queue depths and memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from shared.errors import DependencyError
from shared.logs import get_logger
from shared.metrics import LearnerMetrics
from shared.ports import EventQueue, Heartbeats, Outbox
from shared.resilience.supervision import Pulse

EVERY_S = 5.0
TTL_S = 3 * EVERY_S
"""A learner that misses two beats still counts as alive."""

_log = get_logger(__name__)


class HeartbeatLoop:
    """Background loop that sends the heartbeat. `redis_away`: whether the last one failed."""

    def __init__(
        self,
        worker: str,
        version: str,
        *,
        heartbeats: Heartbeats,
        queue: EventQueue,
        outbox: Outbox,
        memory: Callable[[], Awaitable[tuple[int, int]]],
        metrics: LearnerMetrics,
    ) -> None:
        self.worker = worker
        self.version = version
        self.redis_away = True
        self._dropped = 0
        self._heartbeats = heartbeats
        self._queue = queue
        self._outbox = outbox
        self._memory = memory
        self._metrics = metrics

    async def run(self, pulse: Pulse) -> None:
        """Send heartbeats until cancelled."""
        while True:
            pulse.begin()
            await self.beat()
            pulse.end()
            await asyncio.sleep(EVERY_S)

    async def beat(self) -> None:
        """Send one heartbeat and set the gauges."""
        try:
            await self._heartbeats.beat(self.worker, self.version, TTL_S)
            depth, history = await self._queue.depth(), await self._outbox.depth()
            used, most = await self._memory()
        except DependencyError as error:
            if not self.redis_away:
                _log.warning("heartbeat failed", reason=str(error))
            self.redis_away = True
            return
        self.redis_away = False
        self._metrics.waiting.set(depth.waiting)
        self._metrics.age.set(depth.age_s)
        self._metrics.dead.set(depth.dead)
        self._metrics.unindexed.set(depth.unindexed)
        self._metrics.redis_used.set(used)
        self._metrics.redis_most.set(most)
        self._metrics.history_waiting.set(history.waiting)
        self._metrics.history_bytes.set(history.size)
        self._metrics.history_age.set(history.age_s)
        if history.dropped > self._dropped:
            _log.error("the history has a gap: the outbox was full, and entries were dropped", dropped=history.dropped)
        self._dropped = history.dropped
        self._metrics.history_dropped.set(history.dropped)
