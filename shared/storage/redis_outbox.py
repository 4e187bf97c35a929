"""The outbox of the history in Redis: a stream that the scripts fill and the learner empties.

Its entries name requests; the facts are in the requests' keys, which outlive any backlog. There is no consumer group:
an entry stays until it has been stored, and storing it is idempotent.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from shared.bandit.sources import Source
from shared.schemas.evaluation import Evaluation
from shared.schemas.events import parse_ledger_name
from shared.schemas.history import Contribution, OutboxDepth, PastRating, Waiting
from shared.schemas.storage import NewRecord
from shared.storage import redis_keys
from shared.storage.redis_connection import Client, Damaged, KeptConnection, Script, redis_errors
from shared.storage.redis_stream import Fields, age_of
from shared.storage.request_codec import parse_assignment, stored_record, stored_vector

DONE_AT_ONCE = 64
"""Entries that one script deletes: nothing else is served by Redis meanwhile."""

_FACTS = (b"request", b"evaluation")
"""Kinds of entries whose content is in the keys of their request."""


class RedisOutbox:
    """`Outbox` on a stream without a consumer group."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client  # redis-py says "awaitable or value" of every command
        self._kept = KeptConnection(client)
        self._done = Script(client, "outbox.lua", "outbox_done.lua")

    async def read(self, limit: int) -> list[Waiting]:
        """Return the oldest entries, with what is stored of their requests."""
        with redis_errors():
            entries = await self._client.xrange(redis_keys.HISTORY, count=limit)
        named = {entry_id: _text(fields.get(b"id")) for entry_id, fields in entries if fields.get(b"kind") in _FACTS}
        asked: list[tuple[str, ...]] = []
        for own_id in named.values():
            asked.append(("HMGET", redis_keys.request(own_id), "record", "vector", "evaluation"))
            asked.append(("MGET", redis_keys.story(own_id), redis_keys.vector(own_id)))
        rows = await self._kept.run(asked)
        facts = dict(zip(named, map(_facts, rows[::2], rows[1::2]), strict=True))
        return [_waiting(entry_id, fields, facts.get(entry_id, _NO_FACTS)) for entry_id, fields in entries]

    async def done(self, entries: Sequence[Waiting]) -> None:
        """Delete entries."""
        keys = [redis_keys.HISTORY, redis_keys.UNINDEXED, redis_keys.request("")]
        names = sorted((entry.entry_id for entry in entries), key=_place)
        for at in range(0, len(names), DONE_AT_ONCE):
            await self._done.call(keys, [repr(time.time()), *names[at : at + DONE_AT_ONCE]])

    async def depth(self) -> OutboxDepth:
        """Return the depth of the outbox."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.xlen(redis_keys.HISTORY)
        pipeline.xrange(redis_keys.HISTORY, count=1)
        pipeline.get(redis_keys.HISTORY_DROPPED)
        pipeline.get(redis_keys.HISTORY_BYTES)
        pipeline.time()
        with redis_errors():
            waiting, first, dropped, size, now = await pipeline.execute()
        return OutboxDepth(waiting, age_of(first, now), int(dropped or 0), int(size or 0))


class _Facts(NamedTuple):
    """What is stored of a request."""

    story: bytes | None = None
    vector: bytes | None = None
    evaluation: bytes | None = None


_NO_FACTS = _Facts()


def _facts(fields: list[bytes | None] | Damaged, keys: list[bytes | None]) -> _Facts:
    """Return what is in the keys of a request; earlier versions kept record and vector in the hash."""
    if isinstance(fields, Damaged):
        return _NO_FACTS
    record, vector, evaluation = fields
    return _Facts(record or keys[0], vector or keys[1], evaluation)


def _waiting(entry_id: bytes, fields: Fields, facts: _Facts) -> Waiting:
    """Read an entry; an unreadable one is empty."""
    name, request_id = entry_id.decode(), _text(fields.get(b"id"))
    kind, _, source = _text(fields.get(b"kind")).partition(":")
    try:
        if kind == "request" and (record := stored_record(request_id, {}, facts.story)) is not None:
            prompt = _text(fields.get(b"prompt")) or None
            return Waiting(name, request_id, request=NewRecord(record, stored_vector(facts.vector), prompt))
        if kind == "evaluation" and facts.evaluation is not None:
            return Waiting(name, request_id, evaluation=Evaluation.from_json(facts.evaluation))
        if kind == "rating":
            return Waiting(name, request_id, rating=_rating(request_id, Source(source or Source.USER), fields))
        if kind == "applied":
            return Waiting(name, request_id, contribution=_contribution(request_id, fields))
    except (KeyError, ValueError):
        pass
    return Waiting(name, request_id)


def _rating(request_id: str, source: Source, fields: Fields) -> PastRating:
    return PastRating(
        request_id=request_id,
        revision=int(fields[b"revision"]),
        score=float(fields[b"score"]) if b"score" in fields else None,
        text=_text(fields[b"text"]) if fields.get(b"worded") == b"1" else None,
        rated_at=float(fields[b"rated_at"]),
        source=source,
        weight=float(fields.get(b"weight", b"1")),
    )


def _contribution(request_id: str, fields: Fields) -> Contribution:
    kind, source = parse_ledger_name(_text(fields[b"of"]))
    return Contribution(
        request_id=request_id,
        kind=kind,
        source=source,
        revision=int(fields[b"revision"]),
        sums=orjson.loads(fields[b"sums"]),
        assigned=parse_assignment(fields.get(b"assigned")),
    )


def _place(entry_id: str) -> tuple[int, ...]:
    """Return the place of an entry in the stream."""
    return tuple(map(int, entry_id.split("-")))


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "surrogatepass")
