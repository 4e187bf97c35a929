"""`ImportStore` on Redis: one hash for each imported prompt, with the fields that the scripts of learning expect."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from shared.bandit.kinds import KindId
from shared.schemas.events import EventKind, ledger_name
from shared.schemas.imports import Import, StoredImport
from shared.schemas.storage import Assignment
from shared.storage import redis_keys
from shared.storage.ledger_codec import packed_ledger, revision_of, sums_of
from shared.storage.redis_connection import Client, Damaged, answers_of, redis_errors
from shared.storage.request_codec import assignment_text, parse_assignment

_LEDGER = f"applied:{ledger_name(EventKind.FEEDBACK)}"
"""Contributions of imports are applied as those of ratings are: a newer revision replaces an older one."""

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
        await self._write([(one, {}) for one in imports])

    async def restore(self, imports: Sequence[StoredImport]) -> None:
        """Write all fields."""
        await self._write([(one.record, _learned(one)) for one in imports])

    async def _write(self, imports: Sequence[tuple[Import, Mapping[str, str | bytes]]]) -> None:
        pipeline = self._client.pipeline(transaction=True)
        for one, learned in imports:
            key = redis_keys.imported(one.id)
            pipeline.hset(key, mapping={"record": one.to_json(), **learned})
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


def _learned(one: StoredImport) -> dict[str, str | bytes]:
    fields: dict[str, str | bytes] = {}
    if one.assigned is not None:
        fields["kind"] = assignment_text(one.assigned)
    if one.sums is not None:
        fields[_LEDGER] = packed_ledger(one.revision, one.sums, _kind(one.assigned))
    return fields


def _stored(row: list[bytes | None] | Damaged) -> StoredImport | None:
    if isinstance(row, Damaged):
        return None
    raw, kind, sums, revision = row
    try:
        record = Import.from_json(raw or b"")
        assigned = parse_assignment(kind)
        return StoredImport(record, None, assigned, revision_of(sums, revision), sums_of(sums, _kind(assigned)))
    except (ValueError, msgspec.MsgspecError):
        return None


def _kind(assigned: Assignment | None) -> KindId | None:
    return None if assigned is None else assigned.kind
