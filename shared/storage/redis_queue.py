"""`EventQueue` and `Heartbeats` on Redis: events, dead letters, arq's wake-ups, gossip."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import orjson
from arq.connections import ArqRedis

from shared.bandit.sources import Source
from shared.schemas.events import Event, EventKind
from shared.schemas.storage import DeadLetter, LearnedLimit, Notice, QueueDepth
from shared.storage import redis_keys
from shared.storage.redis_connection import Client, KeptConnection, Script, redis_errors
from shared.storage.redis_stream import Fields, RedisStream, age_of

LEARN_JOB = "learn"
"""arq's name of the job that drains the stream."""

_WAKE_EVERY_S = 0.1
"""Wake-ups of all gateways within this time become one job: about the learner's polling interval."""


class RedisEventQueue:
    """`EventQueue` on a stream with one consumer group."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client  # redis-py says "awaitable or value" of every command
        self._arq = ArqRedis(
            client.connection_pool,
            job_serializer=orjson.dumps,
            job_deserializer=orjson.loads,
            default_queue_name=redis_keys.ARQ_QUEUE,
        )
        self._stream = RedisStream(client, redis_keys.EVENTS, redis_keys.GROUP, KeptConnection(client))
        self._bury = Script(client, "bury.lua")
        self._requeue = Script(client, "requeue.lua")

    async def prepare(self) -> None:
        """Create the stream and its group, from its first entry on."""
        await self._stream.prepare()

    async def wake(self) -> None:
        """Enqueue the job that drains the stream, unless one is waiting."""
        # Not one fixed id: arq refuses an id until its job has ended, and that job may have read the stream already.
        job_id = f"{LEARN_JOB}:{int(time.time() / _WAKE_EVERY_S)}"
        with redis_errors():
            await self._arq.enqueue_job(LEARN_JOB, _job_id=job_id)

    async def read(self, consumer: str, limit: int) -> list[Event]:
        """Return new events."""
        return [_event(*entry) for entry in await self._stream.read(consumer, limit)]

    async def claim(self, consumer: str, *, idle_s: float, limit: int) -> list[Event]:
        """Take over events that other consumers, or this one, have not acknowledged."""
        return [_event(*entry) for entry in await self._stream.claim(consumer, idle_s=idle_s, limit=limit)]

    async def bury(self, event: Event, reason: str) -> None:
        """Move an event to the dead letters."""
        await self._bury.call([redis_keys.EVENTS, redis_keys.DEAD], [redis_keys.GROUP, event.entry_id, reason])

    async def requeue(self, limit: int) -> int:
        """Move dead letters back to the stream."""
        return int(await self._requeue.call([redis_keys.EVENTS, redis_keys.DEAD], [limit]))

    async def dead(self, limit: int) -> list[DeadLetter]:
        """Return dead letters, oldest first."""
        with redis_errors():
            entries = await self._client.xrange(redis_keys.DEAD, count=limit)
        return [
            DeadLetter(_event(entry_id.decode(), fields), fields.get(b"reason", b"").decode("utf-8", "replace"))
            for entry_id, fields in entries
        ]

    async def forget_consumers(self, idle_s: float) -> int:
        """Remove consumers without pending events that have been idle that long."""
        return await self._stream.forget_consumers(idle_s)

    async def depth(self) -> QueueDepth:
        """Return the depth of the queue."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.xlen(redis_keys.EVENTS)
        pipeline.xrange(redis_keys.EVENTS, count=1)
        pipeline.xlen(redis_keys.DEAD)
        pipeline.zcard(redis_keys.UNINDEXED)
        pipeline.time()
        with redis_errors():
            waiting, first, dead, unindexed, now = await pipeline.execute()
        return QueueDepth(waiting=waiting, age_s=age_of(first, now), dead=dead, unindexed=unindexed)


class RedisHeartbeats:
    """`Heartbeats` on keys that expire."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client  # redis-py says "awaitable or value" of every command
        self._notices = Script(client, "notices.lua")

    async def beat(self, worker: str, version: str, ttl_s: float) -> None:
        """Report `worker` as alive."""
        pipeline = self._client.pipeline(transaction=True)
        pipeline.set(redis_keys.learner(worker), version, px=round(ttl_s * 1000))
        pipeline.sadd(redis_keys.LEARNERS, worker)
        with redis_errors():
            await pipeline.execute()

    async def alive(self) -> Mapping[str, str]:
        """Return version by worker, and forget those whose key has expired."""
        with redis_errors():
            workers = sorted(await self._client.smembers(redis_keys.LEARNERS))
            if not workers:
                return {}
            versions = await self._client.mget([redis_keys.learner(name.decode()) for name in workers])
            seen = list(zip(workers, versions, strict=True))
            gone = [name for name, version in seen if version is None]
            if gone:
                await self._client.srem(redis_keys.LEARNERS, *gone)
        return {name.decode(): version.decode() for name, version in seen if version is not None}

    async def exchange(self, gateway: str, notice: Notice | None, ttl_s: float) -> Mapping[str, Notice]:
        """Say it, and return what the others say."""
        says = b"" if notice is None else _said(notice)
        said = await self._notices.call([redis_keys.NOTICES], [gateway, says, round(ttl_s * 1000)])
        return {
            name.decode("utf-8", "replace"): _notice(what, int(age) / 1000)
            for name, age, what in zip(said[::3], said[1::3], said[2::3], strict=True)
        }


def _said(notice: Notice) -> bytes:
    limits = [(limit.arm, limit.feature, limit.lasts_s, limit.tokens) for limit in notice.limits]
    return orjson.dumps({"rests": dict(notice.rests), "behind": notice.behind, "limits": limits})


def _notice(raw: bytes, age_s: float) -> Notice:
    """Read a notice. One that cannot be read, of a newer gateway perhaps, says nothing."""
    try:
        said = orjson.loads(raw)
        rests = {str(arm): float(rest_s) - age_s for arm, rest_s in said["rests"].items()}
        limits = [_limit(row, age_s) for row in said.get("limits", ())]
        return Notice(
            {arm: left for arm, left in rests.items() if left > 0},
            said["behind"] is True,
            age_s,
            tuple(limit for limit in limits if limit.lasts_s > 0),
        )
    except (ValueError, TypeError, LookupError, AttributeError):
        return Notice({}, age_s=age_s)


def _limit(row: Any, age_s: float) -> LearnedLimit:
    arm, feature, lasts_s, tokens = row
    return LearnedLimit(str(arm), str(feature), float(lasts_s) - age_s, int(tokens))


def _event(entry_id: str, fields: Fields, deliveries: int = 1) -> Event:
    """Read an entry. What cannot be read becomes UNKNOWN: left for a newer learner, or buried in the end."""
    request_id = fields.get(b"id", b"").decode("utf-8", "replace")
    version = _int(fields.get(b"v"))
    try:
        kind = EventKind(fields.get(b"kind", b"").decode("utf-8", "replace"))
        revision = int(fields[b"revision"])
        rated = kind is EventKind.FEEDBACK
        score = float(fields[b"score"]) if rated else None
        source = Source(fields[b"source"].decode()) if rated and b"source" in fields else Source.USER
        weight = float(fields.get(b"weight", b"1"))
    except (KeyError, ValueError):
        return Event(entry_id, EventKind.UNKNOWN, request_id, 0, version, deliveries)
    return Event(entry_id, kind, request_id, revision, version, deliveries, score, source, weight)


def _int(raw: bytes | None) -> int:
    return int(raw) if raw is not None and raw.isdigit() and len(raw) < 10 else 0
