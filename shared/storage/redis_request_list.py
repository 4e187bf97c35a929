"""`RequestList` on Redis: sorted sets of own ids, all with score 0, so that they are in the order of time."""

from __future__ import annotations

from typing import Any

from shared.record_archive import RecordArchive
from shared.schemas.records import RequestRecord
from shared.schemas.traffic import RequestPage
from shared.storage import redis_keys
from shared.storage.redis_connection import Client, Damaged, answers_of, redis_errors
from shared.storage.request_codec import Fields, stored, stored_record


class RedisRequestList:
    """`RequestList` on the sorted sets that `record.lua` writes. Own ids are UUIDv7: their text sorts by time."""

    def __init__(self, client: Client, archive: RecordArchive | None = None) -> None:
        """Take the records that Redis no longer keeps, where there is a history."""
        self._client: Any = client  # redis-py says "awaitable or value" of every command
        self._archive = archive

    async def page(self, owner: str | None, *, before: str, limit: int) -> RequestPage:
        """Return requests, newest first."""
        key = redis_keys.LISTED if owner is None else redis_keys.listed(owner)
        with redis_errors():
            members = await self._client.zrevrangebylex(key, f"({before}" if before else "+", "-", 0, limit)
            own_ids = [member.decode() for member in members]
        pipeline = self._client.pipeline(transaction=False)
        for own_id in own_ids:
            pipeline.hgetall(redis_keys.request(own_id))
            pipeline.get(redis_keys.story(own_id))
        answers = await answers_of(pipeline) if own_ids else []
        rows = dict(zip(own_ids, map(_fields, answers[::2]), strict=True))
        records = {
            own_id: record
            for own_id, story in zip(own_ids, answers[1::2], strict=True)
            if (record := _record(own_id, rows[own_id], story)) is not None
        }
        archived = [own_id for own_id in own_ids if "kept" in rows[own_id] and own_id not in records]
        if archived and self._archive is not None:
            records |= await self._archive.records(archived)
        with redis_errors():
            found = [stored(records[own_id], rows[own_id]) for own_id in own_ids if own_id in records]
        return RequestPage(tuple(found), own_ids[-1] if len(own_ids) == limit else "")


def _fields(row: dict[bytes, bytes] | Damaged) -> Fields:
    return {} if isinstance(row, Damaged) else {name.decode(): value for name, value in row.items()}


def _record(own_id: str, fields: Fields, story: bytes | None) -> RequestRecord | None:
    """Return a record; None if it is unreadable, or not there."""
    try:
        return stored_record(own_id, fields, story) if fields else None
    except ValueError:
        return None
