"""Redis and Qdrant are lost, and come back from PostgreSQL as they were."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.learner.commands.forget import Selection, forget
from services.learner.commands.rebuild import RebuildRefused
from shared.bandit.assigner import Assigner
from shared.bandit.traits import assign
from shared.clock import utc_day
from shared.schemas.records import Status
from shared.schemas.storage import EmbeddingModel, Reservation, Verdict
from shared.storage import redis_keys
from shared.storage.redis_requests import GRACE_S
from tests.support.history_rig import DAY_S, Memory, memory
from tests.support.kinds import same, unit_vectors
from tests.support.ledgers import ledgers_in, sums_in
from tests.support.redis_rig import WINDOW_S
from tests.support.sample_records import a_new_record, own_id
from tests.support.values import replace


@pytest.fixture
async def world(redis_server: str, qdrant_url: str, database_url: str) -> AsyncIterator[Memory]:
    async with memory(redis_server, qdrant_url, database_url) as made:
        yield made


def nonzero(sums: dict[str, Any]) -> dict[str, Any]:
    cut = {
        key: {name: value for name, value in fields.items() if value != b"0"}
        for key, fields in sums.items()
        if isinstance(fields, dict)
    }
    return {key: fields for key, fields in cut.items() if fields}


def totals(sums: dict[str, Any]) -> dict[str, Any]:
    """The sums without those by kind: requests were assigned in another order."""
    return {
        key: {name: value for name, value in fields.items() if b"@" not in name}
        for key, fields in nonzero(sums).items()
    }


async def test_everything_comes_back_as_it_was(world: Memory) -> None:
    """Sums, requests with their ledgers, public ids and points: the same before the loss and after, bit for bit."""
    entries = world.traffic(250)
    await world.send(entries)
    await world.learn()
    sums, requests, points = await world.sums_in_redis(), await world.requests_in_redis(), await world.points()
    assert len(sums) > 8
    assert len(points) > 50
    await world.lose()
    done = await world.rebuild()
    assert (done.requests, done.unlearned, done.points) == (len(entries), 0, len(points))
    assert await world.sums_in_redis() == sums
    assert await world.points() == points
    kept = await world.requests_in_redis()
    young = {
        entry.record.id for entry in entries if entry.record.created_at > world.rig.clock.now() - WINDOW_S - GRACE_S
    }
    expected = {key: value for key, value in requests.items() if story_of(key, value) in young}
    assert kept == expected
    assert 0 < len(expected) < len(requests)
    state = await world.rig.posteriors.load()
    assert state.arms == (await world.rig.second_reader.load()).arms
    # Again, over what is there: nothing changes.
    await world.rebuild(wipe=True)
    assert await world.sums_in_redis() == sums
    assert await world.points() == points
    assert await world.requests_in_redis() == expected


def story_of(key: str, value: Any) -> str:
    """The own id that a request's key names, or an alias stands for."""
    prefix = redis_keys.request("")
    return key.removeprefix(prefix) if key.startswith(prefix) else str(value.decode().rstrip("!"))


async def test_nothing_is_learned_from_days_that_have_faded(world: Memory) -> None:
    """Where requests are kept for longer than they count: theirs come back, their sums do not."""
    now = world.rig.clock.now()
    old, new = a_new_record(now - 6 * DAY_S), a_new_record(now)
    await world.send([old, new])
    await world.learn()
    days = {utc_day(old.record.created_at), utc_day(now), "days"}
    assert {name.rpartition("|")[2] for name in await world.sums_in_redis()} == days
    await world.lose()
    assert (await world.rebuild(recency_days=0.5)).requests == 2
    assert {name.rpartition("|")[2] for name in await world.sums_in_redis()} == {utc_day(now), "days"}
    (kept,) = await world.rig.log.load([old.record.id])
    assert kept is not None


async def test_learning_goes_on_where_it_was(world: Memory) -> None:
    """A rating revised after the loss replaces what it had added; a public id stays taken, that of a failure free."""
    now = world.rig.clock.now()
    good = a_new_record(now, public_id="x", embedding_model=world.model.id)
    failed = a_new_record(now, public_id="y", status=Status.FAILED)
    await world.rig.log.record([good, failed])
    await world.rig.log.rate(owner="public", public_id="x", score=0.25, text="meh", now=now)
    await world.learn()
    await world.lose()
    await world.rebuild()
    await world.rig.queue.prepare()
    rate = world.rig.log.rate
    assert await rate(owner="public", public_id="x", score=0.25, text="meh", now=now) is Verdict.DUPLICATE
    assert await rate(owner="public", public_id="x", score=1.0, text=None, now=now) is Verdict.REVISED
    await world.learn()
    total = (await world.rig.posteriors.load()).arms[good.record.outcome.arm].total
    assert (total.labels, total.score, total.requests) == (1, 1, 1)
    assert (await world.points())[good.record.id]["payload"]["score"] == 1.0
    reserve = world.rig.log.reserve
    claims = [await reserve(owner="public", public_id=name, own_id=own_id(now)) for name in ("x", "y")]
    assert [claim.reservation for claim in claims] == [Reservation.TAKEN, Reservation.NEW]


async def test_what_was_stored_but_not_yet_learned_is_learned(world: Memory, redis_server: str) -> None:
    """Redis is lost with events still waiting: no rating that was acknowledged is missing afterwards."""
    entries = world.traffic(60)
    await world.send(entries)
    await world.history_writer.step()
    await world.lose()
    await world.rebuild()
    rebuilt, kinds = await world.sums_in_redis(), await world.rig.kinds.load()
    await world.rig.restorer.clear()
    await world.rig.log.record(entries)
    await world.send(entries)
    await world.learn()
    assert totals(await world.sums_in_redis()) == totals(rebuilt)
    assert sums_in(redis_server) == ledgers_in(redis_server)
    assert kinds is not None
    assert kinds.counts.sum() == sum(entry.vector is not None for entry in entries)


async def test_a_revised_rating_that_was_not_learned_yet_replaces_the_learned_one(world: Memory) -> None:
    """The history has the revision, but its event is lost with Redis: the revised score counts, and counts once."""
    now = world.rig.clock.now()
    entry = a_new_record(now, public_id="x", embedding_model=world.model.id)
    await world.rig.log.record([entry])
    await world.rig.log.rate(owner="public", public_id="x", score=0.25, text=None, now=now)
    await world.learn()
    await world.rig.log.rate(owner="public", public_id="x", score=1.0, text=None, now=now)
    await world.history_writer.step()
    await world.lose()
    await world.rebuild()
    total = (await world.rig.posteriors.load()).arms[entry.record.outcome.arm].total
    assert (total.labels, total.score, total.requests) == (1, 1, 1)


async def test_what_was_forgotten_stays_forgotten(world: Memory) -> None:
    """What a person has taken out of the beliefs does not come back with the rebuild."""
    await world.send(world.traffic(80))
    await world.learn()
    await forget(Selection(owner="public"), world.rig.log, world.rig.posteriors, lambda _done: None)
    await world.learn()
    sums, points = await world.sums_in_redis(), await world.points()
    await world.lose()
    await world.rebuild()
    assert nonzero(await world.sums_in_redis()) == nonzero(sums)
    assert await world.points() == points


async def test_kinds_come_back_bit_for_bit(world: Memory) -> None:
    """Two learners, ratings, reratings and withdrawals: the same kinds and sums, from a snapshot and from none."""
    second = world.new_learner("second")
    for part in range(3):
        await world.send(world.traffic(100, seed=part), seed=part)
        await asyncio.gather(world.learn(), second.drain())
        await forget(Selection(owner="k" * 16), world.rig.log, world.rig.posteriors, lambda _done: None)
        await world.send(world.traffic(20, seed=10 + part), seed=part)
        await asyncio.gather(second.drain(), world.learn())
        world.rig.clock.advance(20 + 300 * (part == 1))
    await world.learn()
    kinds, sums = await world.rig.kinds.load(), nonzero(await world.sums_in_redis())
    requests, snapshot = await world.requests_in_redis(), await world.history.kinds()
    assert kinds is not None
    assert snapshot is not None
    assert 0 < kinds.order - snapshot.order < kinds.counts.sum(), "there is something to assign again"
    with_vector = [entry for entry in world.sent if entry.vector is not None]
    assert kinds.counts.sum() == len(with_vector)
    for gone in (None, "kinds"):
        if gone is not None:
            await world.forget_snapshots()
        await world.lose()
        await world.rebuild()
        assert same(await world.rig.kinds.load(), kinds)
        assert nonzero(await world.sums_in_redis()) == sums
        prefix = redis_keys.request("")  # of public ids that were used again, the traffic has its own order
        kept = {key: value for key, value in (await world.requests_in_redis()).items() if key.startswith(prefix)}
        assert kept == {key: requests[key] for key in kept}


async def test_assigning_goes_on_where_it_was(world: Memory) -> None:
    """What is learned after a rebuild is assigned as if nothing had happened."""
    now = world.rig.clock.now()
    await world.send(world.traffic(120))
    await world.learn()
    before = await world.rig.kinds.load()
    await world.lose()
    await world.rebuild()
    await world.rig.queue.prepare()
    await world.rig.log.record(more := world.traffic(80, seed=7))
    world.learner = world.new_learner("after")
    await world.learn()
    assert before is not None
    straight = Assigner(before)
    for entry in more:
        if entry.vector is not None:
            assign(straight, entry.vector, entry.record.traits, entry.record.id)
    assert same(await world.rig.kinds.load(), straight.kinds)
    assert world.rig.clock.now() == now


async def test_another_embedding_model_comes_back_too(world: Memory) -> None:
    """A generation that ended stays ended."""
    await world.send(world.traffic(40))
    await world.learn()
    old, world.model = world.model, EmbeddingModel(f"{world.model.id}-b", 4)
    world.learner = world.new_learner("b")
    await world.send(world.traffic(40, seed=3))
    await world.learn()
    kinds, sums = await world.rig.kinds.load(), nonzero(await world.sums_in_redis())
    assert kinds is not None
    assert kinds.model == world.model.id != old.id
    await world.forget_snapshots()
    await world.lose()
    await world.rebuild()
    assert same(await world.rig.kinds.load(), kinds)
    assert nonzero(await world.sums_in_redis()) == sums


@pytest.mark.parametrize("migrated", [True, False])
async def test_a_history_of_clusters_becomes_one_of_kinds(world: Memory, migrated: bool) -> None:
    """Made of the clusters as in a running installation, which may have gone on with kinds for a while."""
    raw, centres = world.rig.raw, unit_vectors(3, seed=4)
    await world.as_an_earlier_version(world.traffic(100), epoch=2, centres=centres)
    if migrated:
        await world.rig.kinds.load()
        await world.send(world.traffic(60, seed=6))
        await world.learn()
        world.rig.clock.advance(60)
        await world.learn()
        await world.forget_snapshots()
    kinds, sums = await world.rig.kinds.load(), nonzero(await world.sums_in_redis())
    assert kinds is not None
    assert kinds.generation == 2
    assert await raw.exists(redis_keys.CENTROIDS)
    await world.lose()
    await world.rebuild()
    found = await world.rig.kinds.load()
    assert found is not None
    order = kinds.order if migrated else found.order
    assert same(found, replace(kinds, order=order))
    assert nonzero(await world.sums_in_redis()) == sums


async def test_a_history_without_kinds_gets_some(world: Memory) -> None:
    """Of a version before kinds, and too small for clusters: each request is assigned, and counted in its kind."""
    await world.as_an_earlier_version(entries := world.traffic(40), epoch=0, centres=None)
    await world.lose()
    await world.rebuild()
    kinds, sums = await world.rig.kinds.load(), await world.sums_in_redis()
    assert kinds is not None
    assert kinds.counts.sum() == sum(entry.vector is not None for entry in entries)
    state = await world.rig.posteriors.load()
    by_kind = sum(part.requests for arm in state.arms.values() for part in arm.kinds.values())
    assert by_kind > 10
    assert any(name.startswith(b"labels@") for fields in nonzero(sums).values() for name in fields)


async def test_it_destroys_nothing_unasked(world: Memory) -> None:
    """Not over what is there, nor beside a learner; with `wipe` what waits for the history is written first."""
    await world.send(world.traffic(20))
    await world.learner.drain()
    sums = await world.sums_in_redis()
    with pytest.raises(RebuildRefused, match="--replace"):
        await world.rebuild()
    await world.rig.heartbeats.beat("somebody", "1", 60)
    with pytest.raises(RebuildRefused, match="1 learner"):
        await world.rebuild(wipe=True)
    await world.rig.raw.delete(redis_keys.learner("somebody"))
    assert await world.sums_in_redis() == sums
    assert (await world.rig.outbox.depth()).waiting > 0
    await world.rebuild(wipe=True)
    assert await world.sums_in_redis() == sums
