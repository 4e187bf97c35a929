"""The account of a load test: on real stores it balances, and it finds what is lost, doubled, or missing somewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
import pytest

from benchmarks.soaking.ledger import Account, Ledger
from shared.bandit.sums import LABELS
from shared.storage import redis_keys
from tests.support.history_rig import Memory, memory
from tests.support.sample_records import a_new_record

ANSWERED = {f"load-{number}" for number in range(4)}
RATED = {"load-1", "load-3"}


@pytest.fixture
async def learned(redis_url: str, qdrant_url: str, database_url: str) -> AsyncIterator[Memory]:
    """Four recorded answers, two of them rated, all learned and in the history."""
    async with memory(redis_url, qdrant_url, database_url) as world:
        now = world.rig.clock.now()
        await world.rig.log.record(
            [a_new_record(now, public_id=name, embedding_model=world.model.id) for name in sorted(ANSWERED)]
        )
        for name in RATED:
            await world.rig.log.rate(owner="public", public_id=name, score=0.5, text=None, now=now)
        await world.learn()
        yield world


async def account(world: Memory, redis_url: str) -> Account:
    return await Ledger(redis_url, world.database_url).account("load", 4, ANSWERED, RATED)


async def test_what_was_acknowledged_and_counts_once_balances(learned: Memory, redis_url: str) -> None:
    """Also when the account of an earlier load came before it."""
    ledger = Ledger(redis_url, learned.database_url)
    first = await ledger.account("load", 4, ANSWERED, RATED)
    assert (first, first.balanced) == (Account(), True)
    assert (await ledger.account("later", 0, set(), set())).balanced


async def test_a_rating_that_counts_twice_is_doubled(learned: Memory, redis_url: str) -> None:
    """The sums hold more than the requests say that they have added."""
    async for key in learned.rig.raw.scan_iter(redis_keys.sums("*", "*")):
        await learned.rig.raw.hincrby(key, LABELS, 1)
    found = await account(learned, redis_url)
    assert (found.doubled, found.lost, found.balanced) == (1, 0, False)


async def test_what_is_missing_is_lost(learned: Memory, redis_url: str) -> None:
    """An answer that is not in Redis, one that is not in PostgreSQL, and a rating that was never learned."""
    own_id = (await learned.rig.raw.get(redis_keys.alias("public", "load-0"))).decode()
    await learned.rig.raw.delete(redis_keys.request(own_id))
    with psycopg.connect(learned.database_url, autocommit=True) as database:
        database.execute("DELETE FROM outcomes USING requests WHERE id = request_id AND public_id = 'load-2'")
    found = await Ledger(redis_url, learned.database_url).account("load", 4, ANSWERED, RATED | {"load-2"})
    assert found.answers == {"load-0"}
    assert found.ratings == {"load-2"}
    assert found.history == {"load-2"}
    assert not found.balanced
