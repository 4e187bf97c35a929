"""Reports of learners on the database, in Redis, for the gateways' `/health`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from shared.schemas.database_report import DatabaseReport
from shared.storage import redis_keys
from shared.storage.redis_connection import Client, redis_errors


class RedisDatabaseReports:
    """`DatabaseReports` as one expiring string per learner."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client  # redis-py says "awaitable or value" of every command

    async def report(self, worker: str, report: DatabaseReport, ttl_s: float) -> None:
        """Store the report of `worker` for `ttl_s` seconds."""
        said = orjson.dumps({"version": report.version, "reason": report.reason})
        with redis_errors():
            await self._client.set(redis_keys.database(worker), said, px=round(ttl_s * 1000))

    async def read(self) -> Mapping[str, DatabaseReport]:
        """Return the last report of each living learner that has made one."""
        with redis_errors():
            workers = [name.decode() for name in sorted(await self._client.smembers(redis_keys.LEARNERS))]
            said = await self._client.mget([redis_keys.database(name) for name in workers]) if workers else []
        found = {name: _report(raw) for name, raw in zip(workers, said, strict=True) if raw is not None}
        return {name: report for name, report in found.items() if report is not None}


def _report(raw: bytes) -> DatabaseReport | None:
    """Read a report; None where it cannot be read, as of a newer learner."""
    try:
        said = orjson.loads(raw)
        return DatabaseReport(version=str(said["version"])[:64], reason=str(said["reason"])[:200])
    except (ValueError, TypeError, LookupError):
        return None
