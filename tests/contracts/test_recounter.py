"""What every `Recounter` promises, and the store that it works beside."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from shared.bandit.learning import feedback_sums, outcome_sums
from shared.bandit.sums import ArmSums, Centroids, Sums
from shared.schemas.events import Event, EventKind
from shared.schemas.storage import Applied, Effect, Move
from tests.support.redis_rig import Rig
from tests.support.sample_records import ARM, a_new_record

CENTRES = np.eye(4, dtype=np.float32)


def centroids(epoch: int) -> Centroids:
    return Centroids(epoch, CENTRES, "test-4", 50)


async def learned(rig: Rig, cluster: tuple[int, int] | None = None, score: float = 0.5) -> tuple[str, float]:
    """Record and rate a request, and learn both as decided in `cluster`; return its id and when it was made."""
    entry = a_new_record(rig.clock.now(), cluster=cluster)
    record = entry.record
    await rig.log.record([entry])
    outcome = outcome_sums(cost_usd=0.1, latency_s=1.0, prompt_tokens=1, completion_tokens=2, cluster=cluster)
    events = [Event("0-1", EventKind.OUTCOME, record.id, 1), rating(record.id, 1)]
    sums = [outcome | {"failures": 1, "failures|other@2.1": 3}, feedback_sums(score=score, view=None, cluster=cluster)]
    effects = [Effect(event, ARM, record.created_at, each) for event, each in zip(events, sums, strict=True)]
    assert await rig.posteriors.apply(effects) == [Applied.APPLIED, Applied.APPLIED]
    return record.id, record.created_at


def rating(own_id: str, revision: int) -> Event:
    return Event("0-1", EventKind.FEEDBACK, own_id, revision)


async def sums(rig: Rig, arm: str = ARM) -> ArmSums:
    return (await rig.second_reader.load()).arms[arm]


async def due(rig: Rig) -> list[str]:
    return (await rig.recounter.state(100)).due


async def test_only_a_later_epoch_replaces_the_centres(rig: Rig) -> None:
    """Of many who fit the same epoch one is kept, whole; an earlier one never comes back; what is said of it stays."""
    assert (await rig.recounter.state(10)).centroids is None
    rivals = [Centroids(1, CENTRES * sign, "test-4", 60 + at) for at, sign in enumerate((1, -1, 1, -1))]
    kept = await asyncio.gather(*(rig.posteriors.save_centroids(rival) for rival in rivals))
    assert kept.count(True) == 1
    winner, stored = rivals[kept.index(True)], (await rig.recounter.state(10)).centroids
    assert stored is not None
    np.testing.assert_array_equal(stored.centres, winner.centres)
    assert (stored.epoch, stored.model, stored.requests) == (1, "test-4", winner.requests)
    assert await rig.posteriors.save_centroids(centroids(3))
    assert not await rig.posteriors.save_centroids(centroids(2))
    state = await rig.second_reader.load()
    assert state.centroids is not None
    assert state.centroids.epoch == 3


async def test_a_request_moves_whole_and_once(rig: Rig) -> None:
    """By cluster it counts where it was moved to, and nowhere else; totals, also of others, stay; readers notice."""
    own_id, at = await learned(rig, cluster=(1, 3))
    before, other = await sums(rig), await sums(rig, "other@2.1")
    await rig.posteriors.save_centroids(centroids(2))
    version = (await rig.second_reader.load()).version
    for _ in range(2):
        assert await rig.recounter.move({own_id: Move(ARM, at, (2, 0))}, 2) == 0
        after = await sums(rig)
        assert after.total == before.total
        assert {key: value for key, value in after.clusters.items() if value != Sums()} == {
            (2, 0): before.clusters[1, 3]
        }
        assert await sums(rig, "other@2.1") == other
    assert (await rig.second_reader.load()).version != version


async def test_a_rating_revised_after_the_move_replaces_what_was_moved(rig: Rig) -> None:
    """The ledger moves with the sums: nothing of the old score stays behind, in no cluster."""
    own_id, at = await learned(rig, score=0.25)
    await rig.posteriors.save_centroids(centroids(1))
    await rig.recounter.move({own_id: Move(ARM, at, (1, 2))}, 1)
    revised = Effect(rating(own_id, 2), ARM, at, feedback_sums(score=1.0, view=None, cluster=None))
    assert await rig.posteriors.apply([revised, revised]) == [Applied.APPLIED, Applied.REPLAYED]
    assert (await sums(rig)).clusters[1, 2].labels == 0
    assert await due(rig) == [own_id]
    await rig.recounter.move({own_id: Move(ARM, at, (1, 2))}, 1)
    arm = await sums(rig)
    assert (arm.total.labels, arm.total.score) == (1, 1)
    assert (arm.clusters[1, 2].labels, arm.clusters[1, 2].score, arm.clusters[1, 2].requests) == (1, 1, 1)
    assert await due(rig) == []


async def test_ratings_revised_during_the_move_count_once(rig: Rig) -> None:
    """Whichever comes first, the sums are those of the last rating alone once what is due has been moved."""
    made = dict([await learned(rig) for _ in range(20)])
    await rig.posteriors.save_centroids(centroids(1))
    moves = {own_id: Move(ARM, at, (1, 2)) for own_id, at in made.items()}
    for revision in range(2, 12):
        sums_of_it = feedback_sums(score=revision / 11, view=None, cluster=None)
        revised = [Effect(rating(own_id, revision), ARM, at, sums_of_it) for own_id, at in made.items()]
        await asyncio.gather(rig.recounter.move(moves, 1), rig.posteriors.apply(revised))
    await rig.recounter.move({own_id: moves[own_id] for own_id in await due(rig)}, 1)
    arm = await sums(rig)
    assert (arm.total.labels, arm.total.score, arm.total.requests) == (20, 20, 20)
    assert (arm.clusters[1, 2].labels, arm.clusters[1, 2].score, arm.clusters[1, 2].requests) == (20, 20, 20)


async def test_what_is_learned_under_older_clusters_is_listed_until_it_is_moved(rig: Rig) -> None:
    """Decided before a fit and learned after it; those learned under the newest clusters are not."""
    await learned(rig)
    await rig.posteriors.save_centroids(centroids(2))
    late, at = await learned(rig, cluster=(1, 0))
    unknown, _ = await learned(rig)
    await learned(rig, cluster=(2, 1))
    assert sorted(await due(rig)) == sorted([late, unknown])
    await rig.recounter.move({late: Move(ARM, at, (2, 0)), unknown: None}, 2)
    assert await due(rig) == []


async def test_a_learner_of_the_past_moves_nothing(rig: Rig) -> None:
    """One that has slept through a fit cannot undo what another has done since; the request stays due."""
    own_id, at = await learned(rig)
    await rig.posteriors.save_centroids(centroids(1))
    await rig.posteriors.save_centroids(centroids(2))
    await rig.recounter.move({own_id: Move(ARM, at, (2, 3))}, 2)
    before = await sums(rig)
    await rig.recounter.move({own_id: Move(ARM, at, (1, 0))}, 1)
    assert await sums(rig) == before
    assert await due(rig) == [own_id]


async def test_all_are_counted_until_the_next_fit(rig: Rig) -> None:
    """It is said of an epoch, so that a later one begins uncounted."""
    await rig.posteriors.save_centroids(centroids(1))
    assert not (await rig.recounter.state(1)).counted
    await rig.recounter.counted(1)
    assert (await rig.recounter.state(1)).counted
    await rig.posteriors.save_centroids(centroids(2))
    assert not (await rig.recounter.state(1)).counted


@pytest.mark.parametrize("cluster", [None, (1, 0)])
async def test_what_was_forgotten_is_nowhere_afterwards(rig: Rig, cluster: tuple[int, int] | None) -> None:
    """An empty ledger stays empty."""
    own_id, at = await learned(rig)
    gone = [Event("0-1", EventKind.OUTCOME, own_id, 2), rating(own_id, 2)]
    await rig.posteriors.apply([Effect(event, ARM, at, {}) for event in gone])
    await rig.posteriors.save_centroids(centroids(1))
    await rig.recounter.move({own_id: Move(ARM, at, cluster)}, 1)
    arm = await sums(rig)
    assert arm.total == Sums()
    assert all(each == Sums() for each in arm.clusters.values())
