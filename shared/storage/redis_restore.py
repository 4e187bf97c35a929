"""`Restorer` on Redis: requests and sums from the history. No other process may write them meanwhile."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from shared.bandit.arms import ArmId
from shared.bandit.kinds import Kinds
from shared.bandit.sources import Source
from shared.ports import Clock
from shared.schemas.events import source_suffix
from shared.schemas.history import Contribution, PastRequest
from shared.schemas.records import Status
from shared.schemas.storage import counted_kind
from shared.storage import redis_keys
from shared.storage.kinds_codec import fields_of
from shared.storage.ledger_codec import packed_ledger
from shared.storage.redis_connection import Client, redis_errors
from shared.storage.redis_requests import GRACE_S
from shared.storage.request_codec import assignment_text, packed_belief, short_vector

_AT_ONCE = 500
_GONE = (
    redis_keys.VERSIONS, redis_keys.UNINDEXED, redis_keys.KINDS, redis_keys.CENTROIDS, redis_keys.MISCOUNTED,
    redis_keys.OWNERS,
)  # fmt: skip

Field = str | bytes | int | float


class RedisRestorer:
    """`Restorer` by plain commands: repeated, they leave the same."""

    def __init__(self, client: Client, *, window_s: float, clock: Clock) -> None:
        self._client: Any = client  # redis-py says "awaitable or value" of every command
        self._lifetime_s = window_s + GRACE_S
        self._clock = clock
        self._failed: set[str] = set()

    async def is_empty(self) -> bool:
        """Whether there is neither a request nor a sum."""
        for pattern in (redis_keys.request("*"), redis_keys.sums("*", "*")):
            with redis_errors():
                async for _ in self._client.scan_iter(pattern, count=_AT_ONCE):
                    return False
        return True

    async def clear(self) -> None:
        """Forget requests, their public ids, imports and what was learned."""
        self._failed.clear()
        kept = redis_keys.alias("*", "*"), redis_keys.owners("*"), redis_keys.imported("*")
        parts = redis_keys.request("*"), redis_keys.story("*"), redis_keys.vector("*")
        for pattern in (*parts, *kept, redis_keys.sums("*", "*")):
            with redis_errors():
                found = [key async for key in self._client.scan_iter(pattern, count=_AT_ONCE)]
                for start in range(0, len(found), _AT_ONCE):
                    await self._client.unlink(*found[start : start + _AT_ONCE])
        with redis_errors():
            await self._client.unlink(*_GONE)

    async def requests(self, past: Sequence[PastRequest]) -> None:
        """Store those that would still be there; the others have outlived their feedback window long ago."""
        pipeline = self._client.pipeline(transaction=True)
        for one in past:
            self._put(pipeline, one)
        with redis_errors():
            await pipeline.execute()

    def _put(self, pipeline: Any, one: PastRequest) -> None:
        record = one.entry.record
        left_ms = round((record.created_at + self._lifetime_s - self._clock.now()) * 1000)
        if left_ms <= 0:
            return
        key = redis_keys.request(record.id)
        pipeline.delete(key)
        pipeline.hset(key, mapping=_state(one))
        pipeline.pexpire(key, left_ms)
        if one.entry.vector is not None and not one.revision_by(Source.USER):
            vector = short_vector(np.asarray(one.entry.vector, dtype="<f4").tobytes())
            pipeline.set(redis_keys.vector(record.id), vector, px=left_ms)
        failed = record.outcome.status is Status.FAILED
        alias, owners = redis_keys.alias_keys(record.owner, record.public_id)
        # A public id whose request failed may have been claimed again, by a later one that keeps it.
        known = record.id + "!" if failed else record.id
        if failed or record.public_id != record.id:
            pipeline.set(alias, known, px=left_ms, nx=failed or alias not in self._failed)
        (self._failed.add if failed else self._failed.discard)(alias)
        if owners != alias:
            pipeline.sadd(owners, record.owner)

    async def sums(self, days: Mapping[tuple[ArmId, str], Mapping[str, int]]) -> None:
        """Replace the hashes of these days, and the versions by which gateways notice."""
        # Beginning at the time, as a first contribution does, so that no gateway takes this for what it has read.
        version = round(self._clock.now() * 1000)
        pipeline = self._client.pipeline(transaction=True)
        for (arm, day), sums in days.items():
            key = redis_keys.sums(arm, day)
            pipeline.delete(key)
            if sums:
                pipeline.hset(key, mapping=dict(sums))
                pipeline.hset(redis_keys.VERSIONS, f"{arm}|{day}", version)
        with redis_errors():
            await pipeline.execute()

    async def kinds(self, kinds: Kinds) -> None:
        """Replace the hash."""
        pipeline = self._client.pipeline(transaction=True)
        pipeline.delete(redis_keys.KINDS)
        pipeline.hset(redis_keys.KINDS, mapping=fields_of(kinds))
        with redis_errors():
            await pipeline.execute()


def _state(one: PastRequest) -> dict[str, Field]:
    """Return the request's hash as recording, rating and learning would have left it. Its record is in the history."""
    record = one.entry.record
    fields: dict[str, Field] = {
        "kept": "1",
        "owner": record.owner,
        "status": record.outcome.status.value,
        "created_at": repr(record.created_at),
        "arm": record.outcome.arm,
    }
    if belief := packed_belief(record):
        fields["belief"] = belief
    if record.embedding_model:
        fields["embedding_model"] = record.embedding_model
    for source in Source:
        fields |= _rated(one, source)
    if one.evaluation is not None:
        fields["evaluation"] = one.evaluation.to_json()
    if one.assigned is not None and one.assigned.order:
        fields["kind"] = assignment_text(one.assigned)
    for each in one.ledger:
        fields |= _ledger(f"applied:{each.ledger}", each, fields.get("kind", ""))
    return fields


def _ledger(name: str, contribution: Contribution, kind: Field) -> dict[str, Field]:
    """Return the fields of a contribution, as `apply.lua` writes them."""
    sums, counted = contribution.sums, counted_kind(contribution.sums)
    if counted is None or str(kind).startswith(f"{counted[0]}.{counted[1]}:"):
        return {name: packed_ledger(contribution.revision, sums, counted)}
    return {name: json.dumps(dict(sums), separators=(",", ":")), f"{name}:revision": contribution.revision}


def _rated(one: PastRequest, source: Source) -> dict[str, Field]:
    """Return the fields of the rating by a source."""
    of, rating, revision = source_suffix(source), one.rating_by(source), one.revision_by(source)
    fields: dict[str, Field] = {f"revision{of}": revision} if revision else {}
    if rating is not None and rating.score is not None:
        fields |= {f"score{of}": repr(float(rating.score)), f"rated_at{of}": repr(rating.rated_at)}
        fields |= {} if rating.text is None else {f"text{of}": rating.text}
        fields |= {f"weight{of}": repr(rating.weight)} if of else {}
    return fields
