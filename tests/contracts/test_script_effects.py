"""Effects of the Redis scripts that only Redis has, or that no port shows: time to live, pending entries, sizes."""

from __future__ import annotations

import numpy as np
import pytest

from shared.bandit.sums import Centroids
from shared.schemas.storage import Applied, Effect, RatingTerms
from shared.storage import redis_keys
from tests.contracts.redis_rig import Rig
from tests.stories import ARM, a_new_record, without_vector


async def outcome_of(rig: Rig, **sums: float) -> tuple[str, Applied]:
    """Store a request without a vector and apply an outcome; return its id and the answer."""
    entry = without_vector(a_new_record(rig.clock.now()))
    await rig.log.record([entry])
    (event,) = await rig.queue.read("one", 10)
    effect = Effect(event=event, arm=ARM, created_at=entry.record.created_at, sums=sums)  # type: ignore[arg-type]
    (applied,) = await rig.posteriors.apply([effect])
    return entry.record.id, applied


async def test_a_request_without_a_vector_does_not_wait_for_the_index(rig: Rig) -> None:
    """There would never be a point to write."""
    assert (await outcome_of(rig, requests=1))[1] is Applied.APPLIED
    assert await rig.log.pending_index(10) == []


async def test_a_contribution_that_is_not_whole_is_refused(rig: Rig) -> None:
    """Sums are integers, so that what was added can be taken back exactly."""
    if rig.raw is None:
        pytest.skip("the fake takes integers by its type")
    assert (await outcome_of(rig, requests=1, latency_us=0.5))[1] is Applied.REFUSED


async def test_of_two_fits_of_the_same_epoch_the_first_stays(rig: Rig) -> None:
    """Requests have been counted by it already."""
    first, second = (np.eye(2, 4, k=k, dtype=np.float32) for k in (0, 1))
    assert await rig.posteriors.save_centroids(Centroids(1, first))
    assert not await rig.posteriors.save_centroids(Centroids(1, second))
    kept = (await rig.posteriors.load()).centroids
    assert kept is not None
    assert np.array_equal(kept.centres, first)


async def test_a_buried_event_is_not_pending(rig: Rig) -> None:
    """Else its consumer would have one event too many for ever, and would never be forgotten."""
    await rig.log.record([a_new_record(rig.clock.now())])
    (event,) = await rig.queue.read("one", 10)
    await rig.queue.bury(event, "for a test")
    assert await rig.queue.forget_consumers(0) == 1


async def test_an_idempotency_key_is_remembered_for_a_day(rig: Rig) -> None:
    """A client that repeats after an hour's outage gets the same answer."""
    if rig.raw is None:
        pytest.skip("the fake forgets nothing")
    entry = a_new_record(rig.clock.now())
    await rig.log.record([entry])
    terms = RatingTerms(idempotency_key="a-key")
    rating = {"owner": "public", "public_id": entry.record.public_id, "text": None, "now": rig.clock.now()}
    await rig.log.rate(score=0.5, terms=terms, **rating)  # type: ignore[arg-type]
    left_ms = await rig.raw.pttl(redis_keys.idempotency("public", "a-key"))
    assert 86_300_000 < left_ms <= 86_400_000
