"""Redis stream with one consumer group: entries are delivered, and redelivered until they are removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from shared.errors import DependencyError
from shared.storage.redis_connection import Client, Damaged, KeptConnection, Script, redis_errors

Fields = Mapping[bytes, bytes]


class Entry(NamedTuple):
    """One delivery of an entry; `deliveries` counts this one, too."""

    entry_id: str
    fields: Fields
    deliveries: int = 1


class RedisStream:
    """A stream and its group; the key's owner removes entries by scripts of its own."""

    def __init__(self, client: Client, key: str, group: str, kept: KeptConnection) -> None:
        """Take the connection by which new entries are read."""
        self._client: Any = client  # redis-py says "awaitable or value" of every command
        self._key = key
        self._group = group
        self._kept = kept
        self._forget_consumers = Script(client, "forget_consumers.lua")

    async def prepare(self) -> None:
        """Create the stream and its group, from its first entry on."""
        with redis_errors():
            try:
                await self._client.xgroup_create(self._key, self._group, id="0", mkstream=True)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    async def read(self, consumer: str, limit: int) -> list[Entry]:
        """Return new entries."""
        try:
            return await self._read(consumer, limit)
        except DependencyError as error:
            if not str(error.__cause__).startswith("NOGROUP"):
                raise
        # Redis has lost its data since we started.
        await self.prepare()
        return await self._read(consumer, limit)

    async def _read(self, consumer: str, limit: int) -> list[Entry]:
        ours = "XREADGROUP", "GROUP", self._group, consumer, "COUNT", limit, "STREAMS", self._key, ">"
        (streams,) = await self._kept.run([ours])
        if isinstance(streams, Damaged):
            raise DependencyError("redis", "the key of a stream has another type")
        return [
            Entry(entry_id.decode(), dict(zip(fields[::2], fields[1::2], strict=True)))
            for _, entries in streams or ()
            for entry_id, fields in entries
        ]

    async def claim(self, consumer: str, *, idle_s: float, limit: int) -> list[Entry]:
        """Take over entries that other consumers, or this one, have not removed."""
        # XAUTOCLAIM would do in one step, but it does not say how often an entry has been delivered.
        idle_ms = round(idle_s * 1000)
        with redis_errors():
            try:
                held = await self._client.xpending_range(
                    self._key, self._group, min="-", max="+", count=limit, idle=idle_ms
                )
            except ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                return []
            if not held:
                return []
            deliveries = {entry["message_id"]: entry["times_delivered"] + 1 for entry in held}
            entries = await self._client.xclaim(self._key, self._group, consumer, idle_ms, list(deliveries))
        return [Entry(entry_id.decode(), fields, deliveries[entry_id]) for entry_id, fields in entries if fields]

    async def forget_consumers(self, idle_s: float) -> int:
        """Remove consumers without pending entries that have been idle that long."""
        return int(await self._forget_consumers.call([self._key], [self._group, round(idle_s * 1000)]))


def age_of(first: list[tuple[bytes, Any]], now: tuple[int, int]) -> float:
    """Return the age of a stream's first entry, 0 without one; `now`: Redis' answer to TIME.

    Entry ids carry the time of Redis: compared with its own clock, skew does not matter.
    """
    seconds, micros = now
    return max(seconds + micros / 1e6 - int(first[0][0].split(b"-")[0]) / 1000, 0.0) if first else 0.0
