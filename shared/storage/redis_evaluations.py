"""`EvaluationQueue` on Redis: a stream of tasks, their content in keys that expire, and the day's spending."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.bandit.sums import NANO
from shared.clock import utc_day
from shared.schemas.evaluation import Evaluation, EvaluationDepth, EvaluationTask, QueuedEvaluation, Submitted
from shared.schemas.events import EVENT_VERSION, FORGOTTEN_REVISION
from shared.schemas.history import NO_HISTORY, OutboxBound
from shared.schemas.traffic import DEFAULT_BOUNDS, TrafficBounds
from shared.storage import redis_keys
from shared.storage.redis_connection import Client, KeptConnection, Script, redis_errors, texts_of
from shared.storage.redis_record import traffic_place
from shared.storage.redis_stream import Entry, RedisStream, age_of

CONTENT_TTL_S = 3600
"""Longest life of prompt and answer of a task."""


class RedisEvaluationQueue:
    """`EvaluationQueue` on a stream with a consumer group of its own."""

    def __init__(
        self, client: Client, *, history_bound: OutboxBound = NO_HISTORY, traffic: TrafficBounds = DEFAULT_BOUNDS
    ) -> None:
        """Take the bound of the outbox, into which the results go, too, and that of the figures."""
        self._client: Any = client  # redis-py says "awaitable or value" of every command
        self._outbox = (redis_keys.HISTORY if history_bound.entries else "", str(history_bound))
        self._traffic = traffic_place(traffic)
        self._stream = RedisStream(client, redis_keys.EVALUATIONS, redis_keys.GROUP, KeptConnection(client))
        self._submit = Script(client, "evaluation_submit.lua")
        parts = "outbox.lua", "traffic.lua", "stored_ledger.lua", "evaluation_finish.lua"
        self._finish = Script(client, *parts)
        self._keep = Script(client, "evaluation_keep.lua")

    async def prepare(self) -> None:
        """Create the stream and its group."""
        await self._stream.prepare()

    async def submit(self, task: EvaluationTask, *, budget_nano_usd: int, most_waiting: int) -> Submitted:
        """Store a task and reserve its cost."""
        own_id = task.request_id
        keys = [
            redis_keys.EVALUATIONS,
            redis_keys.evaluation_task(own_id),
            redis_keys.evaluation_spent(task.day),
            redis_keys.request(own_id),
        ]
        reserved, ttl_ms = task.reserved_nano_usd, CONTENT_TTL_S * 1000
        arguments = (own_id, task.to_json(), reserved, task.day, budget_nano_usd, most_waiting, ttl_ms)
        (word,) = texts_of([await self._submit.call(keys, arguments)])
        return Submitted(word)

    async def read(self, consumer: str, limit: int) -> list[QueuedEvaluation]:
        """Return new tasks."""
        return await self._with_content(await self._stream.read(consumer, limit))

    async def claim(self, consumer: str, *, idle_s: float, limit: int) -> list[QueuedEvaluation]:
        """Take over tasks that were not finished."""
        return await self._with_content(await self._stream.claim(consumer, idle_s=idle_s, limit=limit))

    async def _with_content(self, entries: Sequence[Entry]) -> list[QueuedEvaluation]:
        if not entries:
            return []
        ids = [entry.fields.get(b"id", b"").decode("utf-8", "replace") for entry in entries]
        with redis_errors():
            contents = await self._client.mget([redis_keys.evaluation_task(own_id) for own_id in ids])
        return [
            QueuedEvaluation(entry.entry_id, own_id, entry.deliveries, _task(content))
            for entry, own_id, content in zip(entries, ids, contents, strict=True)
        ]

    async def keep(self, consumer: str, queued: QueuedEvaluation) -> None:
        """Restart the idle time of a task."""
        await self._keep.call([redis_keys.EVALUATIONS], [redis_keys.GROUP, consumer, queued.entry_id])

    async def finish(self, queued: QueuedEvaluation, result: Evaluation | None) -> bool:
        """Store the result and remove the task."""
        own_id = queued.request_id
        keys = [
            redis_keys.EVALUATIONS,
            redis_keys.evaluation_task(own_id),
            redis_keys.request(own_id),
            redis_keys.EVENTS,
        ]
        content, cost, known, score = b"", 0, "1", None
        if result is not None:
            score = result.served_score
            content, cost = result.to_json(), round(result.spent_usd * NANO)
            known = "1" if result.all_costs_known else "0"
        task = (redis_keys.GROUP, queued.entry_id, own_id, content, cost, EVENT_VERSION)
        place = (redis_keys.evaluation_spent(""), *self._outbox, FORGOTTEN_REVISION, known)
        judged = ("" if score is None else repr(score), *self._traffic)
        return bool(await self._finish.call(keys, (*task, *place, *judged)))

    async def forget_consumers(self, idle_s: float) -> int:
        """Remove consumers without tasks that have been idle that long."""
        return await self._stream.forget_consumers(idle_s)

    async def depth(self) -> EvaluationDepth:
        """Return the depth of the queue."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.xlen(redis_keys.EVALUATIONS)
        pipeline.xrange(redis_keys.EVALUATIONS, count=1)
        pipeline.time()
        with redis_errors():
            waiting, first, now = await pipeline.execute()
        return EvaluationDepth(waiting, age_of(first, now))

    async def spent_usd(self, now: float) -> float:
        """Return what evaluations of that day have cost."""
        with redis_errors():
            spent = await self._client.get(redis_keys.evaluation_spent(utc_day(now)))
            return 0.0 if spent is None else int(spent) / NANO


def _task(content: bytes | None) -> EvaluationTask | None:
    """Read a task; None where it has expired or cannot be read."""
    try:
        return None if content is None else EvaluationTask.from_json(content)
    except ValueError:
        return None
