"""Micro-batching: many callers, one model.

Callers put texts into a queue; one loop takes up to `size` of them at a time to the one worker thread. Texts that are
equal wait together, and vectors are remembered by text hash. Short texts of a quick model that find nothing before them
are embedded at once, without any of that. Who says how long it waits is refused at once where what is ahead will take
longer: work for somebody who has given up would make the next one late, too.

What a caller awaits is its own ticket and nothing shared, so cancelling it cannot touch the loop or a neighbour; a text
that nobody waits for any more leaves the queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.embedder.encoder import Encoder
from shared.bandit.context import Vector
from shared.errors import Unavailable
from shared.logs import get_logger
from shared.metrics import EmbedderMetrics
from shared.resilience.supervision import Pulse, Supervisor

Key = bytes
RETRY_AFTER_S = 1.0
SMOOTHING = 0.2
"""Weight of the last pass in the usual time of a text."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """`size`: most texts in a pass; `wait_s`: longest wait for one to fill; `queue`: texts that may wait."""

    size: int
    wait_s: float
    queue: int
    cache: int


class _Ticket:
    """What one caller waits for: its rows, filled as batches end."""

    __slots__ = ("deadline", "done", "missing", "rows")

    def __init__(self, rows: NDArray[np.float32], missing: int, deadline: float) -> None:
        self.deadline = deadline
        self.rows = rows
        self.missing = missing
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fill(self, positions: list[int], vector: Vector) -> None:
        for position in positions:
            self.rows[position] = vector
        self.missing -= 1
        if self.missing == 0 and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(slots=True)
class _Job:
    """One distinct text and who wants it, at which of their rows."""

    text: str
    claims: dict[_Ticket, list[int]] = field(default_factory=dict)


class Batcher:
    """`embed` from any number of tasks of one event loop; `close` when none will come any more."""

    def __init__(self, encoder: Encoder, limits: Limits, metrics: EmbedderMetrics, supervisor: Supervisor) -> None:
        self._encoder = encoder
        self._limits = limits
        self._metrics = metrics
        self._waiting: OrderedDict[Key, _Job] = OrderedDict()
        self._running: dict[Key, _Job] = {}
        self._vectors: OrderedDict[Key, Vector] = OrderedDict()
        self._text_s = 0.0
        self._arrived = asyncio.Event()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._loop = asyncio.create_task(supervisor.keep("batches", self._serve), name="batch loop")
        metrics.queued.set_function(self.__len__)

    def __len__(self) -> int:
        """How many texts wait."""
        return len(self._waiting)

    @property
    def running(self) -> bool:
        """Whether the loop lives."""
        return not self._loop.done()

    async def embed(self, texts: Sequence[str], *, within_s: float | None = None) -> NDArray[np.float32]:
        """Return one row a text.

        Raises Unavailable when the queue is full or too long for `within_s`; what the encoder raised, if it failed.
        """
        rows = np.empty((len(texts), self._encoder.model.dimension), dtype=np.float32)
        missing = self._recall(texts, rows)
        if missing and not self._encoded_at_once(texts, rows, missing):
            ticket = self._queue(texts, rows, missing, math.inf if within_s is None else within_s)
            try:
                await ticket.done
            except BaseException:
                self._abandon(ticket, missing)
                raise
        return rows

    async def close(self) -> None:
        """Fail what waits, let the pass in progress end, and stop."""
        self._loop.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._loop
        for job in [*self._waiting.values(), *self._running.values()]:
            _fail(job, Unavailable("The embedder is stopping.", code="draining", retry_after_s=RETRY_AFTER_S))
        self._waiting.clear()
        await asyncio.to_thread(self._worker.shutdown)

    # -- callers -----------------------------------------------------------------------------------------------------

    def _recall(self, texts: Sequence[str], rows: NDArray[np.float32]) -> dict[Key, list[int]]:
        """Fill the rows that are remembered; return the positions of each text that is not."""
        missing: dict[Key, list[int]] = {}
        for position, text in enumerate(texts):
            key = hashlib.blake2b(text.encode(), digest_size=16).digest()
            vector = self._vectors.get(key)
            if vector is None:
                missing.setdefault(key, []).append(position)
            else:
                self._vectors.move_to_end(key)
                rows[position] = vector
        known = len(texts) - sum(map(len, missing.values()))
        if known:
            self._metrics.texts.labels("cache").inc(known)
        return missing

    def _encoded_at_once(self, texts: Sequence[str], rows: NDArray[np.float32], missing: dict[Key, list[int]]) -> bool:
        """Encode here and now what is quick and has nothing before it; return whether it was. Raises what it raises."""
        if self._waiting or self._running or not self.running or len(missing) > self._limits.size:
            return False
        distinct = [texts[positions[0]] for positions in missing.values()]
        if not self._encoder.quick(distinct):
            return False
        try:
            vectors = self._encode(distinct)
        except Exception as error:
            _say_failed(error, len(distinct))
            raise
        # By index: iterating over an array ends with an error, and setting rows by a list takes seven times as long.
        for at, (key, positions) in enumerate(missing.items()):
            self._remember(key, vectors[at])
            for position in positions:
                rows[position] = vectors[at]
        return True

    def _queue(
        self, texts: Sequence[str], rows: NDArray[np.float32], missing: dict[Key, list[int]], within_s: float
    ) -> _Ticket:
        """Claim every missing text, all or none."""
        if not self.running:
            raise Unavailable("The embedder is stopping.", code="draining", retry_after_s=RETRY_AFTER_S)
        new = len([key for key in missing if key not in self._waiting and key not in self._running])
        if len(self._waiting) + new > self._limits.queue:
            self._metrics.refused.inc()
            raise Unavailable("Too many texts are waiting.", code="overloaded", retry_after_s=RETRY_AFTER_S)
        ahead = len(self._waiting) + len(self._running)
        if ahead and (ahead + new) * self._text_s > within_s:  # with nothing ahead we try: it may be faster by now
            self._metrics.refused.inc()
            raise _too_late()
        ticket = _Ticket(rows, len(missing), time.monotonic() + within_s)
        for key, positions in missing.items():
            job = self._running.get(key) or self._waiting.get(key)
            if job is None:
                job = self._waiting[key] = _Job(texts[positions[0]])
            job.claims[ticket] = positions
        joined = sum(map(len, missing.values())) - new
        if joined:
            self._metrics.texts.labels("joined").inc(joined)
        self._arrived.set()
        return ticket

    def _abandon(self, ticket: _Ticket, missing: dict[Key, list[int]]) -> None:
        """Withdraw a caller's claims; texts of nobody leave the queue."""
        for key in missing:
            job = self._waiting.get(key)
            if job is not None and job.claims.pop(ticket, None) is not None and not job.claims:
                del self._waiting[key]

    # -- the loop ----------------------------------------------------------------------------------------------------

    async def _serve(self, pulse: Pulse) -> None:
        for job in self._running.values():  # of a run of this loop that has broken
            _fail(job, Unavailable("This batch was lost.", code="overloaded", retry_after_s=RETRY_AFTER_S))
        self._running = {}
        while True:
            self._arrived.clear()
            if not self._waiting:
                await self._arrived.wait()
            pulse.begin()
            await self._gather()
            self._running = dict(self._waiting.popitem(last=False) for _ in range(self._batch_size()))
            if self._running:
                await self._run()
            pulse.end()

    def _batch_size(self) -> int:
        return min(self._limits.size, len(self._waiting))

    async def _gather(self) -> None:
        """Wait for the batch to fill, as long as each turn of the event loop brings another text."""
        deadline = time.monotonic() + self._limits.wait_s
        seen = 0
        while seen < len(self._waiting) < self._limits.size and time.monotonic() < deadline:
            seen = len(self._waiting)
            await asyncio.sleep(0)

    async def _run(self) -> None:
        """Encode the running jobs and deliver. Whatever goes wrong reaches their callers, and them only."""
        jobs = self._running = self._in_time(self._running)
        if not jobs:
            return
        try:
            texts = [job.text for job in jobs.values()]
            if self._encoder.quick(texts):
                vectors = self._encode(texts)
            else:
                vectors = await asyncio.get_running_loop().run_in_executor(self._worker, self._encode, texts)
            for (key, job), vector in zip(jobs.items(), vectors, strict=True):
                self._remember(key, vector)
                for ticket, positions in job.claims.items():
                    ticket.fill(positions, vector)
        except Exception as error:  # noqa: BLE001 - the edge of the batch loop, which must live on
            _say_failed(error, len(jobs))
            for job in jobs.values():
                _fail(job, error)
        self._running = {}

    def _in_time(self, jobs: dict[Key, _Job]) -> dict[Key, _Job]:
        """Return the jobs that somebody still waits for."""
        now = time.monotonic()
        late = [key for key, job in jobs.items() if all(ticket.deadline < now for ticket in job.claims)]
        for key in late:
            self._metrics.refused.inc()
            _fail(jobs[key], _too_late())
        return {key: job for key, job in jobs.items() if key not in late} if late else jobs

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        start = time.perf_counter()
        vectors = self._encoder.encode(texts)
        took_s = time.perf_counter() - start
        self._text_s += SMOOTHING * (took_s / len(texts) - self._text_s)
        self._metrics.seconds.observe(took_s)
        self._metrics.batch.observe(len(texts))
        self._metrics.texts.labels("model").inc(len(texts))
        return vectors

    def _remember(self, key: Key, vector: Vector) -> None:
        if self._limits.cache:
            self._vectors[key] = vector.copy()  # a view would keep the whole batch alive
            if len(self._vectors) > self._limits.cache:
                self._vectors.popitem(last=False)


def _say_failed(error: Exception, texts: int) -> None:
    """Log it without a traceback: its message could quote a text."""
    log.error("batch failed", error=type(error).__name__, texts=texts)


def _fail(job: _Job, error: Exception) -> None:
    for ticket in job.claims:
        ticket.fail(error)


def _too_late() -> Unavailable:
    return Unavailable("This cannot be done in time.", code="too_late", retry_after_s=RETRY_AFTER_S)
