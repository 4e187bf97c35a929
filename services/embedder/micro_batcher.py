"""Micro-batcher: encodes the texts of concurrent callers in batches, with deduplication and a cache.

Callers put texts into a queue; one loop passes up to `size` of them at a time to one worker thread. Equal texts are
encoded once, and vectors are cached by the hash of the text. When nothing is queued, short texts of a quick model are
encoded inline, on the event loop. A caller with a deadline is rejected immediately when the queue would take longer:
work for a caller that has given up would make later ones late, too.

Each caller awaits a future of its own, so its cancellation affects neither the loop nor other callers. A text without
callers leaves the queue.
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
"""Weight of the last batch in the moving average of the time per text."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """`size`: texts per batch; `wait_s`: longest wait for a batch to fill; `queue`: queued texts; `cache`: vectors."""

    size: int
    wait_s: float
    queue: int
    cache: int


class _Caller:
    """A waiting caller: its rows, filled as batches end, and the future that it awaits."""

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
    """One distinct text, and for each waiting caller the rows it fills."""

    text: str
    callers: dict[_Caller, list[int]] = field(default_factory=dict)


class MicroBatcher:
    """The batcher of one event loop. Call `close` after the last `embed`."""

    def __init__(self, encoder: Encoder, limits: BatchLimits, metrics: EmbedderMetrics, supervisor: Supervisor) -> None:
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
        """Return the number of queued texts."""
        return len(self._waiting)

    @property
    def running(self) -> bool:
        """Whether the batch loop runs."""
        return not self._loop.done()

    async def embed(self, texts: Sequence[str], *, within_s: float | None = None) -> NDArray[np.float32]:
        """Return one float32 row per text.

        Raises Unavailable when the queue is full, or too long for the deadline `within_s`; errors of the encoder as
        they are.
        """
        rows = np.empty((len(texts), self._encoder.model.dimension), dtype=np.float32)
        missing = self._fill_from_cache(texts, rows)
        if missing and not self._encode_inline(texts, rows, missing):
            caller = self._queue(texts, rows, missing, math.inf if within_s is None else within_s)
            try:
                await caller.done
            except BaseException:
                self._abandon(caller, missing)
                raise
        return rows

    async def close(self) -> None:
        """Fail queued texts, let the running batch end, and stop."""
        self._loop.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._loop
        for job in [*self._waiting.values(), *self._running.values()]:
            _fail(job, Unavailable("The embedder is stopping.", code="draining", retry_after_s=RETRY_AFTER_S))
        self._waiting.clear()
        await asyncio.to_thread(self._worker.shutdown)

    # -- callers -----------------------------------------------------------------------------------------------------

    def _fill_from_cache(self, texts: Sequence[str], rows: NDArray[np.float32]) -> dict[Key, list[int]]:
        """Fill rows from the cache; return the positions of each text that is missing there."""
        missing: dict[Key, list[int]] = {}
        for position, text in enumerate(texts):
            key = hashlib.blake2b(text.encode(), digest_size=16).digest()
            vector = self._vectors.get(key)
            if vector is None:
                missing.setdefault(key, []).append(position)
            else:
                self._vectors.move_to_end(key)
                rows[position] = vector
        cached = len(texts) - sum(map(len, missing.values()))
        if cached:
            self._metrics.texts.labels("cache").inc(cached)
        return missing

    def _encode_inline(self, texts: Sequence[str], rows: NDArray[np.float32], missing: dict[Key, list[int]]) -> bool:
        """Encode on the event loop if the texts are quick and nothing is queued; return whether that was done."""
        if self._waiting or self._running or not self.running or len(missing) > self._limits.size:
            return False
        distinct = [texts[positions[0]] for positions in missing.values()]
        if not self._encoder.quick(distinct):
            return False
        try:
            vectors = self._encode(distinct)
        except Exception as error:
            _log_failure(error, len(distinct))
            raise
        # By index, because assigning rows by a list of positions takes seven times as long.
        for at, (key, positions) in enumerate(missing.items()):
            self._store(key, vectors[at])
            for position in positions:
                rows[position] = vectors[at]
        return True

    def _queue(
        self, texts: Sequence[str], rows: NDArray[np.float32], missing: dict[Key, list[int]], within_s: float
    ) -> _Caller:
        """Queue all missing texts, or none. Raises Unavailable."""
        if not self.running:
            raise Unavailable("The embedder is stopping.", code="draining", retry_after_s=RETRY_AFTER_S)
        new = len([key for key in missing if key not in self._waiting and key not in self._running])
        if len(self._waiting) + new > self._limits.queue:
            self._metrics.refused.inc()
            raise Unavailable("Too many texts are waiting.", code="overloaded", retry_after_s=RETRY_AFTER_S)
        ahead = len(self._waiting) + len(self._running)
        if ahead and (ahead + new) * self._text_s > within_s:  # with an empty queue we try: the average may be outdated
            self._metrics.refused.inc()
            raise _too_late()
        caller = _Caller(rows, len(missing), time.monotonic() + within_s)
        for key, positions in missing.items():
            job = self._running.get(key) or self._waiting.get(key)
            if job is None:
                job = self._waiting[key] = _Job(texts[positions[0]])
            job.callers[caller] = positions
        joined = sum(map(len, missing.values())) - new
        if joined:
            self._metrics.texts.labels("joined").inc(joined)
        self._arrived.set()
        return caller

    def _abandon(self, caller: _Caller, missing: dict[Key, list[int]]) -> None:
        """Remove a caller; texts without callers leave the queue."""
        for key in missing:
            job = self._waiting.get(key)
            if job is not None and job.callers.pop(caller, None) is not None and not job.callers:
                del self._waiting[key]

    # -- the loop ----------------------------------------------------------------------------------------------------

    async def _serve(self, pulse: Pulse) -> None:
        for job in self._running.values():  # left by a run of this loop that failed
            _fail(job, Unavailable("The batch failed and was dropped.", code="overloaded", retry_after_s=RETRY_AFTER_S))
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
        """Wait for the batch to fill while each iteration of the event loop brings another text."""
        deadline = time.monotonic() + self._limits.wait_s
        seen = 0
        while seen < len(self._waiting) < self._limits.size and time.monotonic() < deadline:
            seen = len(self._waiting)
            await asyncio.sleep(0)

    async def _run(self) -> None:
        """Encode the running jobs and deliver the rows. An error reaches the callers of this batch only."""
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
                self._store(key, vector)
                for caller, positions in job.callers.items():
                    caller.fill(positions, vector)
        except Exception as error:  # noqa: BLE001 - the edge of the batch loop, which must go on
            _log_failure(error, len(jobs))
            for job in jobs.values():
                _fail(job, error)
        self._running = {}

    def _in_time(self, jobs: dict[Key, _Job]) -> dict[Key, _Job]:
        """Fail jobs whose callers are all past their deadlines; return the others."""
        now = time.monotonic()
        late = [key for key, job in jobs.items() if all(caller.deadline < now for caller in job.callers)]
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

    def _store(self, key: Key, vector: Vector) -> None:
        if self._limits.cache:
            self._vectors[key] = vector.copy()  # a view would keep the whole batch alive
            if len(self._vectors) > self._limits.cache:
                self._vectors.popitem(last=False)


def _log_failure(error: Exception, texts: int) -> None:
    """Log the type only: a message or traceback could quote a text."""
    log.error("batch failed", error=type(error).__name__, texts=texts)


def _fail(job: _Job, error: Exception) -> None:
    for caller in job.callers:
        caller.fail(error)


def _too_late() -> Unavailable:
    return Unavailable("The queue is too long to answer in time.", code="too_late", retry_after_s=RETRY_AFTER_S)
