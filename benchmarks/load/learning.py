"""Learner benchmark: events per second, and its lag at 1,000 requests per second.

The events are written as a gateway writes them, by the same adapter, but without one: a gateway on a small machine
ends fewer requests a second than a learner can take.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING

from msgspec import structs

from benchmarks.load.findings import Findings, Table
from benchmarks.load.processes import pin
from benchmarks.load.rig import Rig
from shared.clock import SystemClock
from shared.schemas.ids import uuid7
from shared.schemas.storage import NewRecord
from shared.settings import Settings
from shared.storage.redis_connection import connect
from shared.storage.redis_queue import RedisEventQueue
from shared.storage.redis_requests import RedisRequestLog

if TYPE_CHECKING:
    from shared.storage.redis_connection import Client

BACKLOG = 20_000
"""Requests whose outcomes wait when the learner starts; one in ten is also rated."""

RATED = 10
RATE = 1_000
SECONDS = 15
TICK_S = 0.01
BATCH = 250
PATIENCE_S = 120.0


def measure(rig: Rig, found: Findings) -> None:
    """Fill the stream while the learner is stopped, time its drain; then write at a constant rate, measure lag."""
    pin(rig.pids["learner"], (rig.own_core,))
    try:
        per_second, lags = asyncio.run(_both(rig))
    finally:
        pin(rig.pids["learner"], rig.other_cores)
    lags.sort()
    found.figures |= {"learner events": per_second, "learner lag": lags[-1]}
    found.more.append(
        Table(
            "Learner",
            f"One worker, alone on its core. Events: {BACKLOG:,} outcomes and {BACKLOG // RATED:,} ratings that "
            f"waited for it. Lag: age of the oldest event that is not yet applied, while {RATE:,} requests a second "
            f"end for {SECONDS} s, one in {RATED} of them rated.",
            ("what", "value"),
            [
                ("events a second", f"{per_second:,.0f}"),
                ("lag, median", f"{lags[len(lags) // 2]:.2f} s"),
                ("lag, longest", f"{lags[-1]:.2f} s"),
            ],
        )
    )


async def _both(rig: Rig) -> tuple[float, list[float]]:
    client = connect(Settings.model_validate({"REDIS_URL": rig.redis}))
    try:
        writer = await _Writer.beside(client)
        print("learner: events a second", flush=True)
        per_second = await _backlog(rig.pids["learner"], writer)
        print(f"learner: lag at {RATE:,} requests a second", flush=True)
        return per_second, await _lag(writer)
    finally:
        await client.aclose()


class _Writer:
    """Writer of copies of a recorded request."""

    def __init__(self, log: RedisRequestLog, queue: RedisEventQueue, pattern: NewRecord) -> None:
        self.queue = queue
        self._log = log
        self._pattern = pattern

    @classmethod
    async def beside(cls, client: Client) -> _Writer:
        """Return a writer that copies a request from Redis."""
        log = RedisRequestLog(client, window_s=86_400, clock=SystemClock())
        async for ids in log.ids_of(None, since=0.0):
            for own_id, request in zip(ids, await log.load(ids), strict=True):
                whole = await log.find(owner=None, public_id=own_id)
                if request is not None and request.vector is not None and whole is not None:
                    return cls(log, RedisEventQueue(client), NewRecord(whole.record, request.vector))
        raise RuntimeError("learner: no recorded request to copy")

    async def write(self, number: int) -> None:
        """Record requests, and rate some of them."""
        entries = [self._next() for _ in range(number)]
        await self._log.record(entries)
        for entry in entries[::RATED]:
            record = entry.record
            await self._log.rate(owner=record.owner, public_id=record.id, score=0.5, text=None, now=time.time())

    def _next(self) -> NewRecord:
        now = time.time()
        own_id = uuid7(now)
        record = structs.replace(self._pattern.record, id=own_id, public_id=own_id, created_at=now)
        return NewRecord(record, self._pattern.vector)


async def _backlog(pid: int, writer: _Writer) -> float:
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(BACKLOG // BATCH):
            await writer.write(BATCH)
        waiting = (await writer.queue.depth()).waiting
    finally:
        os.kill(pid, signal.SIGCONT)
    began = time.perf_counter()
    await writer.queue.wake()
    while (await writer.queue.depth()).waiting:
        if time.perf_counter() - began > PATIENCE_S:
            raise RuntimeError("learner: it does not drain the stream")
        await asyncio.sleep(TICK_S)
    return waiting / (time.perf_counter() - began)


async def _lag(writer: _Writer) -> list[float]:
    began, lags = time.perf_counter(), []
    for number in range(int(SECONDS / TICK_S)):
        await asyncio.sleep(max(0.0, began + number * TICK_S - time.perf_counter()))
        await writer.write(round(RATE * TICK_S))
        if number % 10 == 0:
            await writer.queue.wake()
            lags.append((await writer.queue.depth()).age_s)
    if time.perf_counter() - began > 1.2 * SECONDS:
        raise RuntimeError(f"learner: this machine cannot write {RATE:,} requests a second beside it")
    return lags
