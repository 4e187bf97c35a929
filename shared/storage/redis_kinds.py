"""`KindStore` on Redis: one hash of the kinds of prompt, and a field of each request."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from shared.bandit.kinds import Kinds
from shared.bandit.sums import REQUESTS
from shared.errors import CorruptState
from shared.ports import Clock
from shared.schemas.history import OldClusters
from shared.schemas.storage import Assignment, first_order
from shared.storage import redis_keys
from shared.storage.kinds_codec import changed_fields, parse_kinds
from shared.storage.redis_connection import Client, Damaged, KeptConnection, Script, answers_of
from shared.storage.request_codec import assignment_text

_OLD_CLUSTERS_MS = 86_400_000
"""How long the clusters of an earlier version stay after kinds were made of them."""


class RedisKindStore:
    """`KindStore` on one hash; each save is compared with the order and the mark that were read.

    The mark is random. A Redis that lost its last second may be given the same order again, for other requests.
    """

    def __init__(self, client: Client, *, clock: Clock, key_of: Callable[[str], str] = redis_keys.request) -> None:
        """Take `key_of`, which returns the hash of what is assigned."""
        self._client: Any = client  # redis-py says "awaitable or value" of every command
        self._clock = clock
        self._assign = Script(client, "assign.lua", kept=KeptConnection(client))
        self._key_of = key_of
        self._mark = b""

    async def load(self) -> Kinds | None:
        """Read the hash; without one, make it of the clusters of an earlier version."""
        kinds = await self._read()
        if kinds is None and (made := await self._kinds_of_clusters()) is not None:
            await self.save(None, made, {})
            kinds = await self._read()  # another learner may have been first
        return kinds

    async def save(self, before: Kinds | None, after: Kinds, assigned: Mapping[str, Assignment]) -> bool:
        """Write the fields that have changed, and the kinds of the requests."""
        anew = before is None or before.generation != after.generation
        known = None if anew else before
        fields, gone = await asyncio.to_thread(changed_fields, known, after)
        mark = fields["mark"] = secrets.token_bytes(8)
        read = ("", "", b"") if before is None else (before.generation, before.order, self._mark)
        arguments: list[str | bytes | int | float] = [*read, int(anew), _OLD_CLUSTERS_MS, len(gone), len(fields), *gone]
        arguments += [part for field in fields.items() for part in field]
        arguments += [assignment_text(each) for each in assigned.values()]
        keys = [redis_keys.KINDS, redis_keys.CENTROIDS, redis_keys.MISCOUNTED]
        keys += [self._key_of(own_id) for own_id in assigned]
        saved = bool(await self._assign.call(keys, arguments))
        if saved:
            self._mark = mark
        return saved

    async def _read(self) -> Kinds | None:
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hgetall(redis_keys.KINDS)
        (fields,) = await answers_of(pipeline)
        if isinstance(fields, Damaged):
            raise CorruptState("kinds are not a hash")
        self._mark = fields.get(b"mark", b"")
        return await asyncio.to_thread(parse_kinds, fields) if fields else None

    async def _kinds_of_clusters(self) -> Kinds | None:
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hgetall(redis_keys.CENTROIDS)
        pipeline.hkeys(redis_keys.VERSIONS)
        fields, members = await answers_of(pipeline)
        if isinstance(fields, Damaged) or isinstance(members, Damaged):
            raise CorruptState("centroids or versions are not a hash")
        if not fields:
            return None
        old = _old_clusters(fields)
        names = [f"{REQUESTS}@{old.epoch}.{cluster}" for cluster in range(len(old.centres))]
        pipeline = self._client.pipeline(transaction=False)
        for member in members:
            pipeline.hmget(redis_keys.SUMS + member.decode("utf-8", "replace"), names)
        counts = np.zeros(len(names))
        for row in await answers_of(pipeline) if members else []:
            if not isinstance(row, Damaged):
                counts += [int(value) if (value or b"").isdigit() else 0 for value in row]
        return old.kinds(counts, order=first_order(self._clock.now()))


def _old_clusters(fields: Mapping[bytes, bytes]) -> OldClusters:
    try:
        shape = int(fields[b"rows"]), int(fields[b"dimension"])
        if min(shape) < 1:
            raise CorruptState("centroids have no rows or no dimension")
        centres = np.frombuffer(fields[b"data"], dtype="<f4").reshape(shape).astype(np.float32, copy=False)
        old = OldClusters(int(fields[b"epoch"]), centres, fields.get(b"model", b"").decode("utf-8", "replace"))
    except (KeyError, ValueError) as error:
        raise CorruptState(f"centroids: {type(error).__name__}") from error
    if not np.isfinite(centres).all():
        raise CorruptState("centroids are not finite")
    return old
