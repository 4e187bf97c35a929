"""A database of an earlier version is brought up to date, and its rows mean what they meant."""

from __future__ import annotations

import psycopg

from shared.schemas.history import Waiting
from shared.settings import Settings
from shared.storage.postgres_history import PostgresHistory
from shared.storage.postgres_migrations import migrate, migrations
from tests.support.sample_records import a_new_record
from tests.support.values import replace

NOW = 1_795_000_000.0


async def test_an_unknown_cost_of_before_is_read_as_unknown(database_url: str) -> None:
    """Version 1 had 0 with the source `unknown`; afterwards NULL can be stored beside it."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        assert await migrate(connection, migrations()[:1]) == [1]
    history = PostgresHistory(Settings(DATABASE_URL=database_url))
    await history.prepare()
    entry = a_new_record(NOW)
    unknown = replace(entry.record.outcome, cost_usd=None, cost_source="unknown")
    entries = [replace(a_new_record(NOW + at), record=replace(a_new_record(NOW + at).record, outcome=unknown))
               for at in range(2)]  # fmt: skip
    await history.write([Waiting(f"{at}-1", each.record.id, request=each) for at, each in enumerate(entries)])
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        old = "UPDATE outcomes SET cost_usd = 0 WHERE request_id = %s"
        await connection.execute(old, [entries[0].record.id])
        stored = await (await connection.execute("SELECT cost_usd FROM outcomes ORDER BY cost_usd")).fetchall()
    assert stored == [(0.0,), (None,)]
    read = [past.entry.record.outcome.cost_usd async for page in history.read(since=0.0, batch=10) for past in page]
    assert read == [None, None]
    await history.close()
