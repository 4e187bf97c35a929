"""Useless connections to PostgreSQL: behind a pooler, read-only, vanished, ended by the server."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import psycopg
import pytest

from benchmarks.soaking.forwarder import forwarding
from shared.errors import DependencyError
from shared.schemas.history import Waiting
from shared.settings import Settings
from shared.storage.postgres_history import PostgresHistory
from tests.support.sample_records import a_new_record


@pytest.fixture
async def history(database_url: str) -> AsyncIterator[PostgresHistory]:
    opened = PostgresHistory(Settings(DATABASE_URL=database_url), timeout_s=4.0)
    await opened.prepare()
    yield opened
    await opened.close()


async def write(history: PostgresHistory) -> None:
    entry = a_new_record(time.time())
    assert await history.write([Waiting("1-1", entry.record.id, request=entry)]) == []


async def test_nothing_is_prepared_on_the_server(history: PostgresHistory) -> None:
    """A transaction pooler gives the next transaction another server, which knows no statement of ours."""
    for _ in range(8):
        await write(history)
        await history.count(since=0)
        [page async for page in history.read(since=0)]
        await history.kinds()
        await history.ping()
    async with history.connection() as connection:
        cursor = await connection.execute("SELECT count(*) AS n FROM pg_prepared_statements")
        assert await cursor.fetchone() == {"n": 0}


async def test_a_server_that_became_read_only_is_left(database_url: str) -> None:
    """Connections that were made to a standby stay read-only when the address leads to the primary again."""
    name = urlsplit(database_url).path[1:]
    history = PostgresHistory(Settings(DATABASE_URL=database_url), timeout_s=4.0)
    await history.prepare()
    with psycopg.connect(database_url, autocommit=True) as operator:
        operator.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await history._pool.drain()
        await asyncio.gather(*(history.count(since=0) for _ in range(4)))
        with pytest.raises(DependencyError, match="25006") as caught:
            await write(history)
        assert "read-only" in caught.value.reason
        with pytest.raises(DependencyError, match="25006"):
            await history.ping()
        await asyncio.gather(*(history.count(since=0) for _ in range(4)))
        operator.execute("SET default_transaction_read_only = off")
        operator.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        with pytest.raises(DependencyError):
            await write(history)
        await asyncio.gather(*(write(history) for _ in range(4)))  # one refusal was enough for all four
        assert await history.ping()
    await history.close()


async def test_a_server_that_vanished_costs_one_call(database_url: str) -> None:
    """Connections that are open say nothing more, new ones work: the next call is served by a new one."""
    parts = urlsplit(database_url)
    async with forwarding(parts.port or 5432) as forwarder:
        moved = parts._replace(netloc=f"{parts.username}@127.0.0.1:{forwarder.port}").geturl()
        history = PostgresHistory(Settings(DATABASE_URL=moved), timeout_s=1.5)
        await history.prepare()
        await asyncio.gather(*(write(history) for _ in range(4)))
        forwarder.freeze()
        with pytest.raises(DependencyError) as caught:
            await write(history)
        assert "no answer in time" in caught.value.reason
        began = time.monotonic()
        await asyncio.gather(*(write(history) for _ in range(4)))
        assert time.monotonic() - began < 1.2
        await history.close()


async def test_a_transaction_whose_client_vanished_does_not_keep_its_locks(database_url: str) -> None:
    """The server has heard of no end: it ends the transaction itself, and the rows can be written again."""
    parts = urlsplit(database_url)
    async with forwarding(parts.port or 5432) as forwarder:
        moved = parts._replace(netloc=f"{parts.username}@127.0.0.1:{forwarder.port}").geturl()
        history = PostgresHistory(Settings(DATABASE_URL=moved), timeout_s=1.5)
        await history.prepare()
        with contextlib.suppress(DependencyError):
            async with history.connection() as connection:
                await connection.execute("LOCK TABLE requests IN EXCLUSIVE MODE")
                forwarder.freeze()
                await connection.execute("SELECT 1")
        began, written = time.monotonic(), False
        while not written:
            assert time.monotonic() - began < 20, "the lock is kept"
            with contextlib.suppress(DependencyError):
                await write(history)
                written = True
        await history.close()


async def test_connections_that_the_server_has_ended_are_replaced(history: PostgresHistory, database_url: str) -> None:
    """As after a restart: the very next call works."""
    await asyncio.gather(*(write(history) for _ in range(4)))
    with psycopg.connect(database_url, autocommit=True) as operator:
        operator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'llm-router' "
            "AND datname = current_database()"
        )
    await asyncio.gather(*(write(history) for _ in range(4)))
    assert await history.count(since=0) == 8
