"""Redis and Qdrant are lost, and come back from PostgreSQL as they were."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from services.learner.commands.forget import Source, forget
from services.learner.commands.rebuild import RebuildRefused
from services.learner.learning.clusters import ClusterUpdater
from shared.bandit.sums import Centroids
from shared.schemas.records import Status
from shared.schemas.storage import Reservation, Verdict
from shared.storage import redis_keys
from shared.storage.redis_requests import GRACE_S
from tests.support.history_rig import Memory, memory
from tests.support.ledgers import ledgers_in, sums_in
from tests.support.redis_rig import RECENCY_DAYS, WINDOW_S
from tests.support.sample_records import a_new_record, own_id


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
    rebuilt = await world.sums_in_redis()
    await world.rig.restorer.clear()
    await world.rig.log.record(entries)
    await world.send(entries)
    await world.learn()
    assert nonzero(await world.sums_in_redis()) == nonzero(rebuilt)
    assert sums_in(redis_server) == ledgers_in(redis_server)


async def test_what_was_forgotten_stays_forgotten(world: Memory) -> None:
    """What a person has taken out of the beliefs does not come back with the rebuild."""
    await world.send(world.traffic(80))
    await world.learn()
    await forget(Source(owner="public"), world.rig.log, world.rig.posteriors, lambda _done: None)
    await world.learn()
    sums, points = await world.sums_in_redis(), await world.points()
    await world.lose()
    await world.rebuild()
    assert nonzero(await world.sums_in_redis()) == nonzero(sums)
    assert await world.points() == points


async def test_cluster_centres_come_back(world: Memory) -> None:
    """The sums by cluster mean nothing without the centres; the newest are kept."""
    centres = np.eye(4, dtype=np.float32)
    for epoch in (1, 2):
        await world.rig.posteriors.save_centroids(Centroids(epoch, centres * epoch))
        world.rig.clock.advance(60)
        await world.learn()
    await world.lose()
    await world.rebuild()
    stored = (await world.rig.posteriors.load()).centroids
    assert stored is not None
    assert stored.epoch == 2
    np.testing.assert_array_equal(stored.centres, centres * 2)


async def test_what_was_counted_by_clusters_comes_back_so(world: Memory) -> None:
    """Fitted and counted anew before the loss: the sums, by cluster, too, and the ledgers are the same after it."""
    await world.send(world.traffic(120))
    await world.learn()
    cluster_updater = ClusterUpdater(
        log=world.rig.log,
        index=world.index,
        index_writer=world.index_writer,
        posteriors=world.rig.posteriors,
        recounter=world.rig.recounter,
        clock=world.rig.clock,
        metrics=world.metrics,
        recency_days=RECENCY_DAYS,
    )
    await cluster_updater.step()
    world.rig.clock.advance(60)
    await world.learn()
    sums, requests = nonzero(await world.sums_in_redis()), await world.requests_in_redis()
    assert any(name.startswith(b"labels@1.") for fields in sums.values() for name in fields)
    await world.lose()
    await world.rebuild()
    assert nonzero(await world.sums_in_redis()) == sums
    kept = await world.requests_in_redis()
    assert kept == {key: requests[key] for key in kept}
    # The history does not know what the centres were fitted to: the next learner fits anew.
    await cluster_updater.step()
    stored = (await world.rig.posteriors.load()).centroids
    assert stored is not None
    assert (stored.epoch, stored.model) == (2, world.model.id)


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
