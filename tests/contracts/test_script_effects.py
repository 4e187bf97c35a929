"""Effects of the Redis scripts that only Redis has, or that no port shows: time to live, pending entries, sizes."""

from __future__ import annotations

import pytest

from shared.bandit.sources import Source
from shared.clock import utc_day
from shared.schemas.history import PastRequest
from shared.schemas.storage import Applied, Effect, RatingTerms, Verdict
from shared.storage import redis_keys
from tests.support.redis_rig import Rig
from tests.support.sample_records import ARM, a_new_record, without_vector


async def outcome_of(rig: Rig, **sums: float) -> tuple[str, Applied]:
    """Store a request without a vector and apply an outcome; return its id and the answer."""
    entry = without_vector(a_new_record(rig.clock.now()))
    await rig.log.record([entry])
    (event,) = await rig.queue.read("one", 10)
    effect = Effect(event=event, arm=ARM, created_at=entry.record.created_at, sums=sums)  # type: ignore[arg-type]
    (applied,) = await rig.posteriors.apply([effect])
    return entry.record.id, applied


async def test_a_request_without_a_vector_waits_for_its_story_to_be_packed(rig: Rig) -> None:
    """There will never be a point to write, but the rest is done as for all others."""
    own, applied = await outcome_of(rig, requests=1)
    assert applied is Applied.APPLIED
    assert await rig.log.pending_index(10) == {own: 0}


async def test_a_contribution_that_is_not_whole_is_refused(rig: Rig) -> None:
    """Sums are integers, so that what was added can be taken back exactly."""
    if rig.raw is None:
        pytest.skip("the fake takes integers by its type")
    assert (await outcome_of(rig, requests=1, latency_us=0.5))[1] is Applied.REFUSED


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


async def test_a_stored_sum_that_is_not_exact_is_refused(rig: Rig) -> None:
    """Beyond fifteen digits Lua's numbers are not whole any more: nothing is added to such a sum."""
    if rig.raw is None:
        pytest.skip("Python's integers are exact")
    key = redis_keys.sums(ARM, utc_day(rig.clock.now()))
    await rig.raw.hset(key, "requests", "1234567890123456")
    assert (await outcome_of(rig, requests=1))[1] is Applied.REFUSED
    assert await rig.raw.hget(key, "requests") == b"1234567890123456"


async def test_an_event_goes_back_to_the_stream_as_it_came(rig: Rig) -> None:
    """The reason that it was buried for stays behind."""
    if rig.raw is None:
        pytest.skip("the fake keeps events, not fields")
    await rig.log.record([a_new_record(rig.clock.now())])
    ((_, sent),) = await rig.raw.xrange(redis_keys.EVENTS)
    (event,) = await rig.queue.read("one", 10)
    await rig.queue.bury(event, "for a test")
    assert await rig.queue.requeue(10) == 1
    ((_, again),) = await rig.raw.xrange(redis_keys.EVENTS)
    assert again == sent


async def test_the_words_of_a_rating_that_was_taken_back_are_gone(rig: Rig) -> None:
    """Forgetting what a person taught also forgets what they wrote."""
    if rig.raw is None:
        pytest.skip("the fake drops the rating as a whole")
    entry = a_new_record(rig.clock.now())
    await rig.log.record([entry])
    record = entry.record
    await rig.log.rate(owner="public", public_id=record.public_id, score=0.5, text="my name", now=rig.clock.now())
    assert await rig.raw.hget(redis_keys.request(record.id), "text") == b"my name"
    await rig.log.withdraw([record.id], [Source.USER])
    assert await rig.raw.hmget(redis_keys.request(record.id), "text", "score", "rated_at") == [None, None, None]


async def test_the_day_of_the_bound_is_kept(rig: Rig) -> None:
    """Its requests are not all older than the bound."""
    await outcome_of(rig, requests=1)
    assert await rig.posteriors.forget_before(rig.clock.now()) == 0
    assert await rig.posteriors.forget_before(rig.clock.now() + 86_400.0) == 1


async def test_ratings_are_limited_by_the_minute(rig: Rig) -> None:
    """A second later is the same minute, a minute later is another one."""
    entries = [a_new_record(rig.clock.now()) for _ in range(3)]
    await rig.log.record(entries)
    minute = (rig.clock.now() // 60 + 1) * 60
    verdicts = [
        await rig.log.rate(
            owner="public",
            public_id=entry.record.public_id,
            score=0.5,
            text=None,
            now=now,
            terms=RatingTerms(per_minute=1),
        )
        for entry, now in zip(entries, (minute, minute + 1, minute + 60), strict=True)
    ]
    assert verdicts == [Verdict.ACCEPTED, Verdict.LIMITED, Verdict.ACCEPTED]


async def test_learned_requests_are_due_in_bounded_batches(rig: Rig) -> None:
    """The rated ones for the index, all of them for their short form."""
    entries = [a_new_record(rig.clock.now()) for _ in range(3)]
    await rig.log.record(entries)
    await rig.log.rate(owner=None, public_id=entries[0].record.id, score=0.5, text=None, now=rig.clock.now())
    created = {entry.record.id: entry.record.created_at for entry in entries}
    effects = [
        Effect(event=event, arm=ARM, created_at=created[event.request_id], sums={"requests": 1})
        for event in await rig.queue.read("one", 10)
    ]
    await rig.posteriors.apply(effects)
    assert len(await rig.log.pending_index(2)) == 2
    assert sorted(await rig.log.pending_index(10)) == sorted(entry.record.id for entry in entries)


async def test_a_request_whose_time_is_over_is_not_restored(rig: Rig) -> None:
    """Redis would have forgotten it."""
    if rig.raw is None:
        pytest.skip("in the fake nothing expires")
    old = PastRequest(a_new_record(rig.clock.now() - 60 * 86_400.0, public_id="old"))
    await rig.restorer.requests([old])
    assert await rig.log.find(owner="public", public_id="old") is None
