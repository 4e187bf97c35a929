"""The learner's batch loop on a real Redis: what others left, what is damaged, and what is too new."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from services.learner.learning.apply_events import RedeliveryPolicy
from shared.errors import DependencyError
from shared.schemas.events import Event, EventKind
from shared.schemas.storage import Applied, Effect
from shared.storage import redis_keys
from tests.support.kinds import unit_vectors
from tests.support.learning import a_learner
from tests.support.ledgers import assert_assigned_once, ledgers_in, sums_in
from tests.support.redis_rig import Rig, redis_rig
from tests.support.sample_records import ARM, a_new_record
from tests.support.values import replace

PATIENCE = RedeliveryPolicy(idle_s=0)


@pytest.fixture
async def rig(redis_server: str) -> AsyncIterator[Rig]:
    async with redis_rig(redis_server) as real:
        yield real


async def rated(rig: Rig, arm: str = ARM) -> str:
    entry = a_new_record(rig.clock.now(), arm=arm)
    await rig.log.record([entry])
    await rig.log.rate(owner="public", public_id=entry.record.id, score=0.5, text=None, now=rig.clock.now())
    return entry.record.id


async def test_what_a_dead_learner_had_read_is_taken_over(rig: Rig, redis_server: str) -> None:
    """Killed between read and apply, which no signal can time: a consumer that reads and is never seen again."""
    await rated(rig)
    assert len(await rig.queue.read("dead", 10)) == 2
    assert await a_learner(rig, redelivery=PATIENCE).sweep() == 2
    assert (await rig.queue.depth()).waiting == 0
    assert sums_in(redis_server) == ledgers_in(redis_server)
    assert (await rig.posteriors.load()).arms[ARM].total.labels == 1


async def test_damaged_sums_stop_nobody_and_end_in_the_dead_letters(rig: Rig, redis_server: str) -> None:
    """The event that met them is buried after its deliveries; other arms go on; repaired and requeued, it counts."""
    await rated(rig)
    me = a_learner(rig, redelivery=PATIENCE)
    await me.drain()
    (key,) = [name async for name in rig.raw.scan_iter(redis_keys.sums("*", "*"))]
    await rig.raw.hset(key, "labels", "many")
    own_id = await rated(rig)
    await rated(rig, "vendor/model-b")
    await me.drain()
    assert (await rig.queue.depth()).waiting == 1, "the outcome touches no damaged field, the other arm is sound"
    for _ in range(PATIENCE.deliveries):
        await me.sweep()
    (letter,) = await rig.queue.dead(10)
    assert letter.event.request_id == own_id
    await rig.raw.hset(key, "labels", "1")
    await rig.queue.requeue(10)
    await me.drain()
    assert (await rig.posteriors.load()).arms[ARM].total.labels == 2
    assert sums_in(redis_server) == ledgers_in(redis_server)


async def test_an_event_of_a_newer_version_survives_this_learner(rig: Rig) -> None:
    """Rolling deploy: it stays, however often it comes by, while others are applied."""
    await rig.raw.xadd(redis_keys.EVENTS, {"v": "3", "kind": "novelty", "id": "x", "revision": "1"})
    await rated(rig)
    me = a_learner(rig, redelivery=PATIENCE)
    await me.drain()
    for _ in range(3 * PATIENCE.deliveries):
        await me.sweep()
    depth = await rig.queue.depth()
    assert (depth.waiting, depth.dead) == (1, 0)
    (event,) = await rig.queue.claim("newer", idle_s=0, limit=10)
    assert event == Event(event.entry_id, EventKind.UNKNOWN, "x", 0, 3, event.deliveries)


async def test_what_waits_for_the_history_is_small(redis_server: str) -> None:
    """A rated request waits as four entries of at most 300 bytes, so an hour without PostgreSQL fits into memory."""
    async with redis_rig(redis_server, 10_000) as rig:
        for _ in range(200):
            await rated(rig)
        await a_learner(rig, redelivery=PATIENCE).drain()
        assert (await rig.outbox.depth()).waiting == 4 * 200
        assert await rig.raw.memory_usage(redis_keys.HISTORY, samples=0) < 4 * 200 * 300


async def test_what_happens_between_assigning_and_applying_counts_nobody_twice(rig: Rig, redis_server: str) -> None:
    """The learner dies there, again and again; its events are taken over, and their requests have a kind already."""
    apply, dying = rig.posteriors.apply, random.Random(1)

    async def dies(effects: Sequence[Effect]) -> list[Applied]:
        if dying.random() < 0.4:
            raise DependencyError("redis", "died")
        return await apply(effects)

    rig.posteriors.apply = dies  # type: ignore[method-assign]  # the crash under test
    for seed in range(6):
        await record_many(rig, 60, seed)
        with contextlib.suppress(DependencyError):
            await a_learner(rig, redelivery=PATIENCE).drain()
    while (await rig.queue.depth()).waiting:
        with contextlib.suppress(DependencyError):
            await a_learner(rig, "next", redelivery=PATIENCE).sweep()
    assert sums_in(redis_server) == ledgers_in(redis_server)
    assert_assigned_once(redis_server)
    assert sums_in(redis_server)["requests"] == 360


async def test_two_learners_on_one_stream_assign_in_one_order(rig: Rig, redis_server: str) -> None:
    """Working at the same time on interleaved batches, each with kinds of its own in memory."""
    for seed in range(5):
        await record_many(rig, 300, seed)
    learners = [a_learner(rig, name, redelivery=PATIENCE) for name in ("one", "two", "three")]
    assert sum(await asyncio.gather(*(each.drain() for each in learners))) == 2 * 1500
    assert sums_in(redis_server) == ledgers_in(redis_server)
    assert_assigned_once(redis_server)


async def record_many(rig: Rig, number: int, seed: int) -> None:
    """Record requests with vectors of their own, and rate them."""
    vectors = unit_vectors(number, seed=seed)
    entries = [replace(a_new_record(rig.clock.now()), vector=vector) for vector in vectors]
    await rig.log.record(entries)
    for entry in entries:
        await rig.log.rate(owner="public", public_id=entry.record.id, score=0.5, text=None, now=rig.clock.now())
