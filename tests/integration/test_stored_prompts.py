"""Prompts that the history stores, read by a gateway for the examples of kinds."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator

import pytest

from shared.errors import DependencyError
from shared.schemas.history import Waiting
from shared.settings import Settings
from shared.storage.postgres_history import PostgresHistory
from shared.storage.postgres_prompts import PostgresPrompts
from tests.support.sample_records import a_new_record
from tests.support.values import replace


@pytest.fixture
async def history(database_url: str) -> AsyncIterator[PostgresHistory]:
    opened = PostgresHistory(Settings(DATABASE_URL=database_url), timeout_s=4.0)
    await opened.prepare()
    yield opened
    await opened.close()


async def test_texts_are_found_by_own_id_for_their_owner(history: PostgresHistory, database_url: str) -> None:
    """An admin finds all that are stored; a key its own; unknown ids and requests without a text are absent."""
    mine, other, silent = [
        replace(a_new_record(time.time(), owner=owner), prompt=prompt)
        for owner, prompt in (("k" * 16, "mïne"), ("o" * 16, "theirs"), ("k" * 16, None))
    ]
    entries = [Waiting(f"1-{at}", one.record.id, request=one) for at, one in enumerate((mine, other, silent))]
    assert await history.write(entries) == []
    prompts = PostgresPrompts(Settings(DATABASE_URL=database_url))
    ids = [mine.record.id, other.record.id, silent.record.id, str(uuid.uuid4())]
    assert await prompts.texts(ids, owner=None) == {mine.record.id: "mïne", other.record.id: "theirs"}
    assert await prompts.texts(ids, owner="k" * 16) == {mine.record.id: "mïne"}
    assert await prompts.texts([], owner=None) == {}


async def test_a_database_that_is_away_is_an_error_of_its_own() -> None:
    """Without the address in its message."""
    away = Settings(DATABASE_URL="postgresql://nobody@127.0.0.1:9/none")
    with pytest.raises(DependencyError) as caught:
        await PostgresPrompts(away).texts([str(uuid.uuid4())], owner=None)
    assert "127.0.0.1" not in str(caught.value)


async def test_a_table_that_is_not_there_yet_is_the_same(database_url: str) -> None:
    """No learner has migrated the database."""
    with pytest.raises(DependencyError, match="UndefinedTable"):
        await PostgresPrompts(Settings(DATABASE_URL=database_url)).texts([str(uuid.uuid4())], owner=None)
