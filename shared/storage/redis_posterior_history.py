"""`PosteriorHistory` on Redis: a hash of arms by minute and by hour."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shared.posterior_history import PastPosterior, Posteriors
from shared.schemas.traffic import DEFAULT_BOUNDS
from shared.storage import redis_keys
from shared.storage.redis_connection import Client, Damaged, answers_of
from shared.storage.redis_traffic import MINUTE_LIFETIME_S

_DIGITS = 5


class RedisPosteriorHistory:
    """`PosteriorHistory` that expires like the figures of the traffic."""

    def __init__(self, client: Client, *, days: int = DEFAULT_BOUNDS.days) -> None:
        """Take the lifetime of hours; 0 for no history."""
        self._client: Any = client  # redis-py says "awaitable or value" of every command
        self._lifetime_s = days * 86_400

    async def note(self, minute: int, posteriors: Posteriors) -> None:
        """Store the posteriors of a minute and of its hour."""
        if not self._lifetime_s or not posteriors:
            return
        fields = {arm: _encoded(one) for arm, one in posteriors.items()}
        pipeline = self._client.pipeline(transaction=True)
        for key, lifetime_s in (
            (redis_keys.posteriors_minute(minute), MINUTE_LIFETIME_S),
            (redis_keys.posteriors_hour(minute // 60), self._lifetime_s),
        ):
            pipeline.delete(key)
            pipeline.hset(key, mapping=fields)
            pipeline.expire(key, lifetime_s)
        await answers_of(pipeline)

    async def minutes(self, first: int, number: int) -> list[Posteriors]:
        """Return the posteriors of minutes."""
        return await self._read([redis_keys.posteriors_minute(first + at) for at in range(number)])

    async def hours(self, first: int, number: int) -> list[Posteriors]:
        """Return the posteriors of hours."""
        return await self._read([redis_keys.posteriors_hour(first + at) for at in range(number)])

    async def _read(self, keys: Sequence[str]) -> list[Posteriors]:
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.hgetall(key)
        rows = await answers_of(pipeline)
        return await asyncio.to_thread(lambda: [_decoded(row) for row in rows])  # a day by the minute has 10,000 fields


def _encoded(one: PastPosterior) -> bytes:
    return msgspec.json.encode([round(value, _DIGITS) for value in msgspec.structs.astuple(one)])


def _decoded(row: Mapping[bytes, bytes] | Damaged) -> Posteriors:
    """Return the posteriors of one hash; what cannot be read is left out."""
    found = {}
    for name, value in {} if isinstance(row, Damaged) else row.items():
        try:
            found[name.decode()] = PastPosterior(*msgspec.json.decode(value, type=tuple[float, float, float, float]))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
    return found
