"""Contract of `ImportHistory`, on the fake and on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from msgspec import structs

from shared.bandit.sources import Source
from shared.import_store import ImportHistory
from shared.schemas.imports import Import, ImportedAnswer, StoredImport
from shared.schemas.storage import Assignment
from shared.settings import Settings
from shared.storage.postgres_history import PostgresHistory
from shared.storage.postgres_imports import PostgresImports
from tests.support.fakes.import_history import FakeImportHistory
from tests.support.kinds import unit_vectors
from tests.support.sample_records import own_id

NOW = 1_795_000_000.123456
ANSWERS = {"v/a": ImportedAnswer(1 / 3, 0.1, 0.7, 3, 4), "v/b": ImportedAnswer(1.0)}


@pytest.fixture(params=["fake", "postgres"])
async def history(request: pytest.FixtureRequest) -> AsyncIterator[ImportHistory]:
    if request.param == "fake":
        yield FakeImportHistory()
        return
    real = PostgresHistory(Settings(DATABASE_URL=request.getfixturevalue("database_url")))
    await real.prepare()
    yield PostgresImports(real)
    await real.close()


def an_import(age_s: float = 0.0) -> StoredImport:
    record = Import(own_id(NOW), Source.EVAL, NOW - age_s, "test-4", 0.1, ANSWERS, ("json", "script:Cyrl"))
    return StoredImport(record, unit_vectors(1, 4)[0], Assignment((3, 7), 12))


async def everything(history: ImportHistory, since: float = 0.0, batch: int = 500) -> list[StoredImport]:
    return [one async for page in history.read(since=since, batch=batch) for one in page]


def same(one: StoredImport, other: StoredImport) -> bool:
    assert one.vector is not None
    assert other.vector is not None
    return (one.record, one.assigned) == (other.record, other.assigned) and bool((one.vector == other.vector).all())


async def test_what_was_written_is_read_digit_for_digit(history: ImportHistory) -> None:
    """Oldest first, from a moment on, in pages that lose nothing; written again it is there once."""
    written = [an_import(age_s) for age_s in (50, 40, 40, 40, 30, 0)]
    await history.write(written[3:])
    await history.write(written)
    for batch in (1, 2, 500):
        found = await everything(history, batch=batch)
        assert len(found) == len(written)
        expected = sorted(written, key=lambda one: (one.record.created_at, one.record.id))
        assert all(map(same, found, expected))
    assert len(await everything(history, since=NOW - 40)) == 5
    assert await everything(history, since=NOW + 1) == []


async def test_the_later_write_counts_and_a_missing_vector_leaves_the_old_one(history: ImportHistory) -> None:
    """A revision by a command that does not have the vector, or has one of another embedding model."""
    first = structs.replace(an_import(), assigned=None)
    await history.write([first])
    (found,) = await everything(history)
    assert same(found, first)
    record = structs.replace(first.record, answers={}, weight=1.0)
    await history.write([structs.replace(first, record=record, vector=None, assigned=Assignment((3, 8), 13))])
    (found,) = await everything(history)
    assert same(found, structs.replace(first, record=record, assigned=Assignment((3, 8), 13)))
