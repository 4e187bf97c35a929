"""PostgreSQL in `/health`: what learners report of it through Redis, and what waits for it."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psycopg
import pytest

from benchmarks.soaking.forwarder import forwarding
from deploy.local.servers import Server
from services.gateway.process.database_health import LATE_S, DatabaseHealth
from services.learner.process.database_probe import DatabaseProbe
from services.learner.writers.history_writer import HistoryWriter
from shared.clock import SystemClock
from shared.metrics import LearnerMetrics, new_registry
from shared.schemas.database_report import DatabaseReport
from shared.settings import Settings
from shared.storage import redis_keys
from shared.storage.postgres_history import PostgresHistory
from shared.storage.redis_connection import Client, connect
from shared.storage.redis_database_reports import RedisDatabaseReports
from shared.storage.redis_kinds import RedisKindStore
from shared.storage.redis_outbox import RedisOutbox
from tests.support.gateway_process import Gateway
from tests.support.learner_rig import NOWHERE, until


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    opened = connect(Settings(REDIS_URL=redis_url))
    yield opened
    await opened.aclose(close_connection_pool=True)


@pytest.fixture
async def history(database_url: str) -> AsyncIterator[PostgresHistory]:
    opened = PostgresHistory(Settings(DATABASE_URL=database_url), timeout_s=4.0)
    await opened.prepare()
    yield opened
    await opened.close()


async def watch_of(client: Any, history: PostgresHistory, worker: str = "one") -> DatabaseProbe:
    await client.sadd(redis_keys.LEARNERS, worker)
    history_writer = HistoryWriter(
        RedisOutbox(client),
        history,
        RedisKindStore(client, clock=SystemClock()),
        "hash",
        {},
        clock=SystemClock(),
        metrics=LearnerMetrics(new_registry("test")),
    )
    return DatabaseProbe(worker, history, history_writer, RedisDatabaseReports(client))


def health_of(client: Client) -> DatabaseHealth:
    return DatabaseHealth(RedisDatabaseReports(client), RedisOutbox(client))


async def test_a_database_that_takes_writes_is_ok(client: Client, history: PostgresHistory) -> None:
    """With its version and what waits; before a learner has looked nothing is known."""
    before = await health_of(client).part()
    assert (before.status, before.version) == ("unknown", None)
    assert before.detail == "no learner reports on it; 0 waiting, oldest 0 s, 0 dropped"
    await (await watch_of(client, history)).probe()
    part = await health_of(client).part()
    assert (part.status, part.detail) == ("ok", "0 waiting, oldest 0 s, 0 dropped")
    assert (part.version or "").split(".")[0].isdigit()


async def test_a_standby_is_down_with_its_reason(client: Client, history: PostgresHistory, database_url: str) -> None:
    """It answers reads, so a ping alone would be content with it."""
    watch, name = await watch_of(client, history), urlsplit(database_url).path[1:]
    with psycopg.connect(database_url, autocommit=True) as operator:
        operator.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await history._pool.drain()
        await watch.probe()
        part = await health_of(client).part()
        assert part.status == "down"
        assert (part.detail or "").startswith("it is read-only")
        operator.execute("SET default_transaction_read_only = off")
        operator.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    for _ in range(2):  # a connection that was made meanwhile is still read-only, and is dropped by the first look
        await watch.probe()
    assert (await health_of(client).part()).status == "ok"


async def test_one_learner_that_cannot_write_is_degraded(client: Any, history: PostgresHistory) -> None:
    """The others go on; a report that cannot be read, of a newer learner, is none."""
    reports = RedisDatabaseReports(client)
    await (await watch_of(client, history)).probe()
    await client.sadd(redis_keys.LEARNERS, "two", "newer")
    await reports.report("two", DatabaseReport(reason="its disk is full"), 30.0)
    await client.set(redis_keys.database("newer"), "[1]")
    part = await health_of(client).part()
    assert part.status == "degraded"
    assert (part.detail or "").startswith("its disk is full; 0 waiting")
    await reports.report("one", DatabaseReport(reason="its disk is full"), 30.0)
    assert (await health_of(client).part()).status == "down"


async def test_what_has_waited_for_long_is_degraded(client: Any, history: PostgresHistory) -> None:
    """Whatever learners say: nothing has written it."""
    await (await watch_of(client, history)).probe()
    old = int((time.time() - LATE_S - 5) * 1000)
    await client.xadd(redis_keys.HISTORY, {"kind": "request", "id": "x"}, id=f"{old}-0")
    part = await health_of(client).part()
    assert part.status == "degraded"
    assert (part.detail or "").startswith("1 waiting, oldest 65 s")


async def test_health_follows_the_database(tmp_path: Path, redis_url: str, database_url: str) -> None:
    """Gateway and learner as processes: ok, down when it is away, ok again; and no such part without a history."""
    parts = urlsplit(database_url)
    real = parts.port or 5432
    async with forwarding(real) as forwarder:
        moved = parts._replace(netloc=f"{parts.username}@127.0.0.1:{forwarder.port}").geturl()
        database = {"ENABLE_PERSISTENCE": "true", "DATABASE_URL": moved, "DATABASE_SSL_MODE": "disable"}
        environment = {"REDIS_URL": redis_url, "EMBEDDER_URL": NOWHERE, "QDRANT_URL": NOWHERE, "LEARNER_PORT": "0"}
        command = [sys.executable, "-m", "services.learner"]
        learner = Server("learner", command, tmp_path / "learner.log", {**environment, **database})
        gateway = Gateway(tmp_path, f"{NOWHERE}/v1", REDIS_URL=redis_url, **database)
        plain = Gateway(tmp_path / "plain", f"{NOWHERE}/v1", REDIS_URL=redis_url)
        learner.start()
        try:
            await gateway.start()
            await plain.start()
            await until(lambda: _is(gateway, "ok"), 20.0)
            forwarder.target = 1
            with psycopg.connect(database_url, autocommit=True) as operator:
                operator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                                 "WHERE application_name = 'llm-router' AND datname = current_database()")  # fmt: skip
            await until(lambda: _is(gateway, "down"), 20.0)
            forwarder.target = real
            await until(lambda: _is(gateway, "ok"), 40.0)
            assert "postgres" not in await _parts(plain)
        finally:
            for server in (learner, gateway.server, plain.server):
                server.kill()


async def _is(gateway: Gateway, status: str) -> bool:
    return bool((await _parts(gateway))["postgres"]["status"] == status)


async def _parts(gateway: Gateway) -> dict[str, Any]:
    async with aiohttp.ClientSession(gateway.url) as client, client.get("/health") as answer:
        parts: dict[str, Any] = (await answer.json())["parts"]
        return parts
