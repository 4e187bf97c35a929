"""What every `KindStore` promises, and the stores that read what it has saved."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from shared.bandit.assigner import Assigner
from shared.bandit.kinds import Kinds, no_kinds
from shared.bandit.traits import EXTRA_DIMENSION
from shared.errors import CorruptState
from shared.schemas.storage import Assignment
from shared.storage import redis_keys
from shared.storage.redis_kinds import RedisKindStore
from tests.support.kinds import same, some_kinds, unit_vectors
from tests.support.redis_rig import Rig
from tests.support.sample_records import a_new_record
from tests.support.values import replace


def grown(kinds: Kinds, number: int = 5, seed: int = 8) -> Kinds:
    """The kinds after so many requests more."""
    assigner = Assigner(kinds)
    for vector in unit_vectors(number, kinds.dimension, seed=seed):
        assigner.assign(vector, f"grown-{seed}")
    return assigner.kinds


async def test_what_was_saved_is_loaded_bit_for_bit(rig: Rig) -> None:
    """Before the first save there are none; then each change is there, removed kinds are gone."""
    assert await rig.kinds.load() is None
    before: Kinds | None = None
    for number in (1, 50, 150):
        kinds = some_kinds(number, 64)
        assert await rig.kinds.save(before, kinds, {})
        assert same(await rig.kinds.load(), kinds)
        before = kinds
    assert before is not None
    assert before.merged


async def test_a_stale_save_writes_nothing(rig: Rig) -> None:
    """Neither kinds nor the request's own kind: another learner has assigned since they were read."""
    entry = a_new_record(rig.clock.now())
    await rig.log.record([entry])
    own_id = entry.record.id
    first = some_kinds(10)
    assert await rig.kinds.save(None, first, {})
    second = grown(first)
    assert await rig.kinds.save(first, second, {})
    for stale in (None, first, replace(second, generation=2)):
        assert not await rig.kinds.save(stale, grown(first, seed=9), {own_id: Assignment((1, 0), 11)})
    assert same(await rig.kinds.load(), second)
    (request,) = await rig.log.load([own_id])
    assert request is not None
    assert request.assigned is None
    assert await rig.kinds.save(second, grown(second), {own_id: Assignment((1, 3), 16)})
    (request,) = await rig.log.load([own_id])
    assert request is not None
    assert (request.assigned, request.kind) == (Assignment((1, 3), 16), (1, 3))


async def test_a_request_is_given_no_second_kind(rig: Rig) -> None:
    """Not even by a learner that has the newest kinds, but read the request before it had its own."""
    entries = [a_new_record(rig.clock.now()) for _ in range(2)]
    await rig.log.record(entries)
    known, other = (entry.record.id for entry in entries)
    first = some_kinds(10)
    assert await rig.kinds.save(None, first, {known: Assignment((1, 0), 10)})
    again = {other: Assignment((1, 1), 11), known: Assignment((1, 2), 12)}
    assert not await rig.kinds.save(first, grown(first), again)
    assert same(await rig.kinds.load(), first)
    assert [one and one.assigned for one in await rig.log.load([known, other])] == [Assignment((1, 0), 10), None]


async def test_an_order_that_is_given_again_is_not_the_same_state(rig: Rig) -> None:
    """Redis lost its last second, and another learner has assigned as many other requests since then."""
    if rig.raw is None:
        pytest.skip("the fake loses nothing")
    other = RedisKindStore(rig.raw, clock=rig.clock)
    first = some_kinds(10)
    assert await rig.kinds.save(None, first, {})
    kept = await rig.raw.hgetall(redis_keys.KINDS)
    lost = grown(first, seed=1)
    assert await rig.kinds.save(first, lost, {})
    await rig.raw.delete(redis_keys.KINDS)
    await rig.raw.hset(redis_keys.KINDS, mapping=kept)
    assert same(await other.load(), first)
    again = grown(first, seed=2)
    assert again.order == lost.order
    assert await other.save(first, again, {})
    assert not await rig.kinds.save(lost, grown(lost), {})
    assert same(await rig.kinds.load(), again)
    assert same((await rig.posteriors.load()).kinds, again)


async def test_of_many_that_save_on_the_same_state_one_succeeds(rig: Rig) -> None:
    """However many learners there are, each order is given once."""
    kinds = some_kinds(10)
    assert sum(await asyncio.gather(*(rig.kinds.save(None, kinds, {}) for _ in range(5)))) == 1
    rivals = [grown(kinds, seed=seed) for seed in range(5)]
    saved = await asyncio.gather(*(rig.kinds.save(kinds, rival, {}) for rival in rivals))
    assert sum(saved) == 1
    assert same(await rig.kinds.load(), rivals[saved.index(True)])


async def test_a_new_generation_replaces_everything(rig: Rig) -> None:
    """Other vectors: nothing of the old kinds is left."""
    old = some_kinds(200, 64)
    assert await rig.kinds.save(None, old, {})
    new = grown(replace(no_kinds(8, generation=2, model="other"), order=old.order))
    assert await rig.kinds.save(old, new, {})
    assert same(await rig.kinds.load(), new)
    assert not await rig.kinds.save(old, grown(old), {})


async def test_readers_see_each_change_of_the_kinds(rig: Rig) -> None:
    """The version of what was learned changes with them, and is the same for all readers."""
    versions, before = {(await rig.posteriors.load()).version}, None
    for kinds in (some_kinds(3), some_kinds(9)):
        assert await rig.kinds.save(before, kinds, {})
        states = [await reader.load() for reader in (rig.posteriors, rig.second_reader, rig.posteriors)]
        assert all(same(state.kinds, kinds) for state in states)
        assert len({state.version for state in states}) == 1
        versions.add(states[0].version)
        before = kinds
    assert len(versions) == 3


async def test_a_request_that_has_expired_does_not_come_back(rig: Rig) -> None:
    """A field written to it would live for ever."""
    assert await rig.kinds.save(None, some_kinds(1), {"00000000-0000-7000-8000-000000000000": Assignment((1, 0), 1)})
    assert await rig.log.load(["00000000-0000-7000-8000-000000000000"]) == [None]
    assert await rig.restorer.is_empty()


async def test_restored_kinds_replace_what_is_there(rig: Rig) -> None:
    """And clearing removes them."""
    assert await rig.kinds.save(None, some_kinds(200, 64), {})
    kinds = some_kinds(4, seed=5)
    await rig.restorer.kinds(kinds)
    assert same(await rig.kinds.load(), kinds)
    await rig.restorer.clear()
    assert await rig.kinds.load() is None


@pytest.mark.parametrize("damage", ["string", "field"])
async def test_damaged_kinds_are_named(rig: Rig, damage: str) -> None:
    """By the store, and by the gateways' reader."""
    if rig.raw is None:
        pytest.skip("the fake keeps no bytes")
    if damage == "string":
        await rig.raw.set(redis_keys.KINDS, "x")
    else:
        await rig.kinds.save(None, some_kinds(), {})
        await rig.raw.hset(redis_keys.KINDS, "k:0", "x")
    for read in (rig.kinds.load, rig.posteriors.load):
        with pytest.raises(CorruptState, match="kinds"):
            await read()


# -- clusters of an earlier version ------------------------------------------------------------------------------------


async def store_clusters(rig: Rig, centres: np.ndarray[tuple[int, int], np.dtype[np.float32]], epoch: int = 3) -> None:
    """Store clusters as a version before kinds did."""
    fields = {
        "epoch": epoch,
        "rows": centres.shape[0],
        "dimension": centres.shape[1],
        "data": centres.astype("<f4").tobytes(),
        "model": "test-4",
        "requests": 200,
        "counted": epoch,
    }
    await rig.raw.hset(redis_keys.CENTROIDS, mapping=fields)
    await rig.raw.sadd(redis_keys.MISCOUNTED, "some-id")


async def test_clusters_become_kinds_once(rig: Rig) -> None:
    """With the requests counted by them, over all models and days; the old keys stay for a day."""
    if rig.raw is None:
        pytest.skip("the fake has no earlier version")
    centres = unit_vectors(3)
    await store_clusters(rig, centres)
    for arm, day, fields in (
        ("a", "2026-11-01", {"requests@3.0": 4, "requests@2.0": 9, "requests": 20}),
        ("a", "2026-11-02", {"requests@3.0": 1, "requests@3.2": 6, "requests@3.2~1": 50}),
        ("b", "2026-11-02", {"requests@3.0": 2, "labels@3.1": 7, "labels": 9, "requests": 9}),
    ):
        await rig.raw.hset(redis_keys.sums(arm, day), mapping=fields)
        await rig.raw.hset(redis_keys.VERSIONS, f"{arm}|{day}", 5)
    kinds = await rig.kinds.load()
    assert kinds is not None
    assert (kinds.generation, kinds.model, kinds.ids, kinds.next_id) == (3, "test-4", (0, 1, 2), 3)
    assert kinds.counts.tolist() == [7, 1, 6]
    np.testing.assert_allclose(kinds.centres[:, :4], centres, atol=1e-6)
    assert kinds.dimension == 4 + EXTRA_DIMENSION
    after = grown(kinds)
    assert await rig.kinds.save(kinds, after, {})
    assert same(await rig.kinds.load(), after), "they are made once"
    for key in (redis_keys.CENTROIDS, redis_keys.MISCOUNTED):
        assert 86_000 < await rig.raw.ttl(key) <= 86_400


@pytest.mark.parametrize(("field", "value"), [("data", "short"), ("rows", "-1"), ("epoch", "x"), ("dimension", "")])
async def test_damaged_clusters_are_named(rig: Rig, field: str, value: str) -> None:
    """Shape, number and epoch are checked."""
    if rig.raw is None:
        pytest.skip("the fake has no earlier version")
    await store_clusters(rig, unit_vectors(3))
    await rig.raw.hset(redis_keys.CENTROIDS, field, value)
    with pytest.raises(CorruptState, match="centroids"):
        await rig.kinds.load()
