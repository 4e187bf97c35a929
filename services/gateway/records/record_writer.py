"""Record writer with group commit: records of requests that end at the same time go to Redis in one write.

While Redis is away, the batches go to the spool, fsynced; a loop replays them when Redis is back. What the disk refuses
waits in memory, bounded. Storing a record is idempotent, so a write whose reply was lost is spooled, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.gateway.records.spool import Spool, SpoolFull
from shared.errors import DependencyError
from shared.logs import get_logger
from shared.metrics import GatewayMetrics
from shared.ports import Clock, EventQueue, RequestLog
from shared.resilience.circuit_breaker import CircuitBreaker
from shared.resilience.supervision import Pulse
from shared.schemas.storage import NewRecord

_log = get_logger(__name__)

BATCH = 256
MAX_WAITING = 20_000
"""Bound on waiting records: more than can be in flight, so that only a stuck disk reaches it."""
MAX_KEPT = 1000
"""Bound on records in memory that neither Redis nor the disk has taken, of some 10 KB each."""
WAKE_S = 0.1
BEHIND_S = 5.0
"""For this long after Redis has caught up, an older reply of it may still be in use."""

REPLAY_TIMEOUT_S = 5.0


class RecordWriter:
    """The writer of records in this process.

    `losing`: neither Redis nor the disk has taken the last records; they are in memory, or lost.
    """

    def __init__(
        self,
        log: RequestLog,
        queue: EventQueue,
        spool: Spool,
        *,
        timeout_s: float,
        clock: Clock,
        metrics: GatewayMetrics,
    ) -> None:
        self._log = log
        self._queue = queue
        self._spool = spool
        self._timeout_s = timeout_s
        self._metrics = metrics
        self._clock = clock
        self._breaker = CircuitBreaker(clock, threshold=2, first_cooldown_s=0.2, max_cooldown_s=1.0)
        self._unclaimed: set[str] = set()
        self._behind_until = float("-inf")
        self.losing = False
        self._waiting: list[tuple[NewRecord, asyncio.Future[bool]]] = []
        self._kept: list[NewRecord] = []
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._wake = asyncio.Event()

    @property
    def redis_away(self) -> bool:
        """Whether the last writes failed, so that the next go to disk."""
        return self._breaker.open

    @property
    def spooled(self) -> int:
        """Records on disk, and in memory where the disk refuses them."""
        return self._spool.waiting + len(self._kept)

    @property
    def behind(self) -> bool:
        """Whether there are, or were a moment ago, requests that Redis does not know."""
        return bool(self.spooled or self._unclaimed) or self._clock.monotonic() < self._behind_until

    def expect(self, own_id: str) -> None:
        """Announce the record of a request whose id could not be reserved in Redis."""
        self._unclaimed.add(own_id)

    def put(self, entry: NewRecord) -> asyncio.Future[bool]:
        """Queue a record; the future is done when it is in Redis (True), or not (on disk, in memory, or lost).

        The future never fails, and need not be awaited: the record is written even where the caller is cancelled.
        """
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if len(self._waiting) >= MAX_WAITING:
            self._lost(1, "too many records wait")
            future.set_result(False)
            return future
        self._waiting.append((entry, future))
        self._idle.clear()
        self._work.set()
        return future

    def wake(self) -> None:
        """Wake the learner within 100 ms; calls in that time are one."""
        self._wake.set()

    async def write_for_ever(self, pulse: Pulse) -> None:
        """Write batches; runs as a background loop."""
        while True:
            await self._work.wait()
            pulse.begin()
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            if not self._waiting:
                self._work.clear()
            in_redis = False
            try:
                in_redis = await self._write([entry for entry, _ in batch])
            except Exception:  # noqa: BLE001 - the edge of the batch loop: one bad batch must not stop all others
                _log.exception("batch of records broke")
                self._lost(len(batch), "the writer broke")
            except BaseException:  # cancelled: the next run of this loop writes it, or `flush` does
                self._waiting[:0] = batch
                self._work.set()
                raise
            if self._unclaimed:
                self._unclaimed.difference_update(entry.record.id for entry, _ in batch)
                self._fell_behind()
            for _, future in batch:
                if not future.done():  # its request may have been cancelled
                    future.set_result(in_redis)
            if not self._waiting:
                self._idle.set()
            pulse.end()

    async def wake_for_ever(self, pulse: Pulse) -> None:
        """Wake the learner, at most once every 100 ms; a lost wake-up costs a second or two of delay."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            pulse.begin()
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._queue.wake()
            except (DependencyError, TimeoutError) as error:
                _log.debug("no wake-up", error=str(error)[:300])
            pulse.end()
            await asyncio.sleep(WAKE_S)

    async def replay(self) -> None:
        """Store the records that wait, oldest first; runs in a loop. Raises DependencyError or TimeoutError."""
        if self.losing:
            await self._look_again()
        if self._kept:
            await self._store_kept()
        if not self._metrics_spooled():
            return
        replayed = 0
        while (segment := await asyncio.to_thread(self._spool.next_segment)) is not None:
            entries = await asyncio.to_thread(self._spool.read, segment)
            await self._store(entries)
            await asyncio.to_thread(self._spool.done, segment)
            replayed += len(entries)
            self._breaker.succeeded()
            self._metrics_spooled()
        self._fell_behind()
        self.wake()
        _log.info("spooled records are stored", records=replayed)

    async def _store(self, entries: Sequence[NewRecord]) -> None:
        for start in range(0, len(entries), BATCH):
            async with asyncio.timeout(REPLAY_TIMEOUT_S):
                await self._log.record(entries[start : start + BATCH])

    async def _store_kept(self) -> None:
        """Store the records in memory in Redis, else on disk; they stay in memory where both refuse."""
        entries = self._kept.copy()
        try:
            await self._store(entries)
        except (DependencyError, TimeoutError) as error:
            try:
                await asyncio.to_thread(self._spool.append, entries)
            except SpoolFull:
                raise error from None
        else:
            self._breaker.succeeded()
            self._fell_behind()
            self.wake()
        self.losing = False
        del self._kept[: len(entries)]

    async def adopt(self) -> None:
        """Adopt the records that a killed process left on disk."""
        found = await asyncio.to_thread(self._spool.adopt)
        if found:
            _log.info("found records of an earlier process on disk", records=found)
        self._metrics_spooled()

    async def flush(self, timeout_s: float) -> None:
        """Wait until every queued record is written; after `timeout_s` the rest is spooled."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            entries = [entry for entry, _ in self._waiting]
            self._waiting = []
            await self._to_disk(entries)

    async def close(self) -> None:
        """Release the spool's files; what is left in memory goes there first."""
        kept, self._kept = self._kept, []
        try:
            if kept:
                await asyncio.to_thread(self._spool.append, kept)
        except SpoolFull as error:
            self._lost(len(kept), f"the process ends, and {error}")
        await asyncio.to_thread(self._spool.close)

    async def _write(self, entries: Sequence[NewRecord]) -> bool:
        """Write a batch to Redis, else to disk; return whether Redis has it."""
        if self._breaker.allows():
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._log.record(entries)
            except (DependencyError, TimeoutError) as error:
                self._breaker.failed()
                _log.debug("records go to disk", error=str(error)[:300])
            else:
                self._breaker.succeeded()
                self.losing = False
                self.wake()
                return True
        await self._to_disk(entries)
        return False

    async def _look_again(self) -> None:
        """Try whether records can be stored again: no record comes to show it while load balancers stay away."""
        if await asyncio.to_thread(self._spool.takes):
            self.losing = False
            return
        async with asyncio.timeout(self._timeout_s):
            await self._queue.wake()  # a write: a Redis that takes none refuses it
        self._breaker.succeeded()
        self.losing = False

    async def _to_disk(self, entries: Sequence[NewRecord]) -> None:
        try:
            await asyncio.to_thread(self._spool.append, entries)
        except SpoolFull as error:
            self.losing = True
            room = MAX_KEPT - len(self._kept)
            self._kept += entries[:room]
            if len(entries) > room:
                self._lost(len(entries) - room, str(error))
        else:
            self.losing = False
        self._metrics_spooled()

    def _fell_behind(self) -> None:
        self._behind_until = self._clock.monotonic() + BEHIND_S

    def _metrics_spooled(self) -> int:
        waiting = self.spooled
        self._metrics.spooled.set(waiting)
        return waiting

    def _lost(self, count: int, reason: str) -> None:
        self._metrics.records_lost.inc(count)
        _log.error("records are lost", records=count, reason=reason)
