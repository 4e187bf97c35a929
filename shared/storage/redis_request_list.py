"""`RequestList` on Redis: sorted sets of own ids, all with score 0, so that they are in the order of time."""

from __future__ import annotations

from typing import Any

from shared.schemas.traffic import RequestPage
from shared.storage import redis_keys
from shared.storage.redis_connection import Client, Damaged, answers_of, redis_errors
from shared.storage.request_codec import parse_record, stored


class RedisRequestList:
    """`RequestList` on the sorted sets that `record.lua` writes. Own ids are UUIDv7: their text sorts by time."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client  # redis-py says "awaitable or value" of every command

    async def page(self, owner: str | None, *, before: str, limit: int) -> RequestPage:
        """Return requests, newest first."""
        key = redis_keys.LISTED if owner is None else redis_keys.listed(owner)
        with redis_errors():
            members = await self._client.zrevrangebylex(key, f"({before}" if before else "+", "-", 0, limit)
            own_ids = [member.decode() for member in members]
        pipeline = self._client.pipeline(transaction=False)
        for own_id in own_ids:
            pipeline.hgetall(redis_keys.request(own_id))
        rows = await answers_of(pipeline) if own_ids else []
        found = []
        with redis_errors():
            for row in rows:
                fields = {} if isinstance(row, Damaged) else {name.decode(): value for name, value in row.items()}
                record = parse_record(fields["record"]) if "record" in fields else None
                if record is not None:
                    found.append(stored(record, fields))
        return RequestPage(tuple(found), own_ids[-1] if len(own_ids) == limit else "")
