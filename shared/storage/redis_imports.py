"""`ImportStore` on Redis: one hash for each imported prompt, with the fields that the scripts of learning expect."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson

from shared.schemas.events import EventKind
from shared.schemas.imports import Import, StoredImport
from shared.storage import redis_keys
from shared.storage.redis_connection import Client, Damaged, answers_of, redis_errors
from shared.storage.request_codec import parse_assignment

APPLIED = EventKind.FEEDBACK
"""Contributions of imports are applied as those of ratings are: a newer revision replaces an older one."""

_LEDGER = f"applied:{APPLIED}"
_SCAN = 500


class RedisImportStore:
    """`ImportStore` by plain commands."""

    def __init__(self, client: Client, *, lifetime_s: float) -> None:
        """Take how long after its scores an import counts."""
        self._client: Any = client  # redis-py says "awaitable or value" of every command
        self._lifetime_s = lifetime_s

    async def load(self, own_ids: Sequence[str]) -> list[StoredImport | None]:
        """Read the hashes."""
        pipeline = self._client.pipeline(transaction=False)
        for own_id in own_ids:
            pipeline.hmget(redis_keys.imported(own_id), "record", "kind", _LEDGER, f"{_LEDGER}:revision")
        return [_stored(row) for row in (await answers_of(pipeline) if own_ids else [])]

    async def put(self, imports: Sequence[Import]) -> None:
        """Write the records."""
        pipeline = self._client.pipeline(transaction=True)
        for one in imports:
            key = redis_keys.imported(one.id)
            pipeline.hset(key, "record", one.to_json())
            pipeline.pexpireat(key, round((one.created_at + self._lifetime_s) * 1000))
        with redis_errors():
            await pipeline.execute()

    async def all_ids(self) -> AsyncIterator[list[str]]:
        """Scan the keys."""
        cursor, prefix = 0, redis_keys.imported("")
        while True:
            with redis_errors():
                cursor, keys = await self._client.scan(cursor, match=redis_keys.imported("*"), count=_SCAN)
            if keys:
                yield [key.decode().removeprefix(prefix) for key in keys]
            if cursor == 0:
                return


def _stored(row: list[bytes | None] | Damaged) -> StoredImport | None:
    if isinstance(row, Damaged):
        return None
    raw, kind, sums, revision = row
    try:
        record = Import.from_json(raw or b"")
        ledger = None if sums is None else orjson.loads(sums)
        return StoredImport(record, None, parse_assignment(kind), int(revision or 0), ledger)
    except ValueError:
        return None
