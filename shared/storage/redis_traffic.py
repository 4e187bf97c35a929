"""`Traffic` on Redis: hashes of sums, to which each gateway adds its own once a second, and `traffic.lua` scores."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from shared.clock import utc_day
from shared.schemas.figures import figures_of, spend_of
from shared.schemas.records import RequestRecord
from shared.schemas.traffic import DEFAULT_BOUNDS
from shared.storage import redis_keys
from shared.storage.redis_connection import Client, Damaged, answers_of, redis_errors
from shared.traffic import Figures

MINUTE_LIFETIME_S = 90_000
"""A day and an hour; `traffic.lua` has the same."""


class RedisTraffic:
    """`Traffic` by one hash a minute, an hour and a day."""

    def __init__(self, client: Client, *, days: int = DEFAULT_BOUNDS.days) -> None:
        """Take the lifetime of hours and days; 0 for no figures."""
        self._client: Any = client  # redis-py says "awaitable or value" of every command
        self._lifetime_s = days * 86_400
        self._minutes: defaultdict[int, Counter[str]] = defaultdict(Counter)
        self._days: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def count(self, record: RequestRecord) -> None:
        """Collect the figures of a new record."""
        if self._lifetime_s:
            self._minutes[int(record.created_at // 60)].update(figures_of(record))
            self._days[utc_day(record.created_at)].update(spend_of(record))

    async def store(self) -> None:
        """Add what was collected, in one transaction. After an error it is kept for the next time."""
        minutes, days = self._minutes, self._days
        if not minutes and not days:
            return
        self._minutes, self._days = defaultdict(Counter), defaultdict(Counter)
        pipeline = self._client.pipeline(transaction=True)
        for minute, figures in minutes.items():
            _add(pipeline, redis_keys.minute(minute), figures, MINUTE_LIFETIME_S)
            _add(pipeline, redis_keys.hour(minute // 60), figures, self._lifetime_s)
        for day, used in days.items():
            _add(pipeline, redis_keys.spend(day), used, self._lifetime_s)
        try:
            await answers_of(pipeline)
        except BaseException:  # cancelled, too
            for minute, figures in minutes.items():
                self._minutes[minute].update(figures)
            for day, used in days.items():
                self._days[day].update(used)
            raise

    async def minutes(self, first: int, number: int) -> list[Figures]:
        """Return the figures of minutes."""
        return await self._read([redis_keys.minute(first + at) for at in range(number)])

    async def hours(self, first: int, number: int) -> list[Figures]:
        """Return the figures of hours."""
        return await self._read([redis_keys.hour(first + at) for at in range(number)])

    async def spending(self, days: Sequence[str]) -> list[Figures]:
        """Return what each owner used."""
        return await self._read([redis_keys.spend(day) for day in days])

    async def _read(self, keys: Sequence[str]) -> list[Figures]:
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.hgetall(key)
        rows = await answers_of(pipeline)
        with redis_errors():
            return await asyncio.to_thread(_figures, rows)  # a day by the minute has 100,000 fields and more


def _add(pipeline: Any, key: str, figures: Mapping[str, int], lifetime_s: int) -> None:
    for field, amount in figures.items():
        pipeline.hincrby(key, field, amount)
    pipeline.expire(key, lifetime_s)


def _figures(rows: Sequence[Any]) -> list[Figures]:
    return [
        {} if isinstance(row, Damaged) else {name.decode(): int(amount) for name, amount in row.items()} for row in rows
    ]
