"""Contract of `RequestLog`, on the fake and on Redis."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from shared.schemas.events import EventKind
from shared.schemas.records import Lesson, Status
from shared.schemas.storage import Effect, NewRecord, Reservation, Verdict
from tests.support.redis_rig import WINDOW_S, Rig
from tests.support.sample_records import a_new_record, a_record, own_id
from tests.support.values import replace


async def rate(
    rig: Rig, public_id: str, score: float = 0.8, text: str | None = None, owner: str | None = "public"
) -> Verdict:
    return await rig.log.rate(owner=owner, public_id=public_id, score=score, text=text, now=rig.clock.now())


async def events(rig: Rig) -> list[tuple[EventKind, str, int]]:
    return [(event.kind, event.request_id, event.revision) for event in await rig.queue.read("test", 1000)]


async def test_a_public_id_belongs_to_one_request_of_one_owner(rig: Rig) -> None:
    """The second claim is refused, a repeated one and another owner's are not."""
    mine, other = own_id(rig.clock.now()), own_id(rig.clock.now())
    assert (await rig.log.reserve(owner="a", public_id="x", own_id=mine)).reservation is Reservation.NEW
    assert (await rig.log.reserve(owner="a", public_id="x", own_id=other)).reservation is Reservation.TAKEN
    assert (await rig.log.reserve(owner="a", public_id="x", own_id=mine)).reservation is Reservation.NEW
    assert (await rig.log.reserve(owner="b", public_id="x", own_id=other)).reservation is Reservation.NEW


async def test_of_many_concurrent_reservations_one_wins(rig: Rig) -> None:
    """No two requests share a public id."""
    claims = [rig.log.reserve(owner="a", public_id="x", own_id=own_id(rig.clock.now())) for _ in range(20)]
    assert [claim.reservation for claim in await asyncio.gather(*claims)].count(Reservation.NEW) == 1


async def test_who_answered_a_conversation_or_made_a_tool_call_is_remembered_for_a_day(rig: Rig) -> None:
    """Under each key, the last one counts; a failed request changes nothing, and each owner has its own."""
    now = rig.clock.now()
    first = replace(a_record(now, owner="a", arm="v/first"), session="talk")
    plain = a_record(now, owner="a", arm="v/second")
    failed = replace(a_record(now, owner="a", arm="v/third", status=Status.FAILED), session="talk")
    await rig.log.record([NewRecord(first, None, calls=("one", "two")), NewRecord(plain, None, calls=("two",))])
    await rig.log.record([NewRecord(failed, None, calls=("one",)), a_new_record(now, owner="a")])
    last = {key: await rig.log.last_answer(owner="a", session=key) for key in ("talk", "one", "two", "", "none")}
    known = {key: None if answer is None else answer.arm for key, answer in last.items()}
    assert known == {"talk": "v/first", "one": "v/first", "two": "v/second", "": None, "none": None}
    assert await rig.log.last_answer(owner="b", session="one") is None
    if rig.raw is not None:
        for key in ("talk", "one"):
            left_ms = await rig.raw.pttl(f"{{router}}:session:a:{key}")
            assert 86_000_000 < left_ms <= 86_400_000
        found = await rig.log.find(owner="a", public_id=first.public_id)
        assert found is not None
        assert found.record == first


async def test_the_id_of_a_failed_request_may_be_claimed_again(rig: Rig) -> None:
    """A client that retries after a 502 keeps its id; the failure stays readable under its own id."""
    failed = a_new_record(rig.clock.now(), public_id="x", status=Status.FAILED)
    await rig.log.reserve(owner="public", public_id="x", own_id=failed.record.id)
    await rig.log.record([failed])
    found = await rig.log.find(owner="public", public_id="x")
    assert found is not None
    assert found.record == failed.record

    again = a_new_record(rig.clock.now(), public_id="x")
    assert (await rig.log.reserve(owner="public", public_id="x", own_id=again.record.id)).reservation is Reservation.NEW
    third = await rig.log.reserve(owner="public", public_id="x", own_id=own_id(rig.clock.now()))
    assert third.reservation is Reservation.TAKEN
    await rig.log.record([again])
    by_public, by_own = [await rig.log.find(owner="public", public_id=i) for i in ("x", failed.record.id)]
    assert by_public is not None
    assert by_own is not None
    assert (by_public.record, by_own.record) == (again.record, failed.record)


async def test_a_late_record_does_not_take_an_id_from_its_new_holder(rig: Rig) -> None:
    """A spooled record may come after its id has been claimed by another: both stay what they are."""
    late, holder = (a_new_record(rig.clock.now(), public_id="x") for _ in range(2))
    await rig.log.reserve(owner="public", public_id="x", own_id=holder.record.id)
    await rig.log.record([late, holder])
    by_public = await rig.log.find(owner="public", public_id="x")
    by_own = await rig.log.find(owner="public", public_id=late.record.id)
    assert by_public is not None
    assert by_own is not None
    assert (by_public.record, by_own.record) == (holder.record, late.record)


async def test_what_was_recorded_is_found_and_loaded_unchanged(rig: Rig) -> None:
    """Record and vector survive bit for bit; what is not learned from is not loaded."""
    entry = a_new_record(rig.clock.now(), public_id="client-1", local_shift=0.1, cluster=(1, 3))
    await rig.log.record([entry])
    found = await rig.log.find(owner="public", public_id="client-1")
    assert found is not None
    assert (found.record, found.rating, found.outcome_applied, found.rating_applied) == (entry.record, None, False, 0)
    loaded, gone = await rig.log.load([entry.record.id, own_id(rig.clock.now())])
    assert gone is None
    assert loaded is not None
    assert loaded.record == Lesson.of(entry.record)
    assert (loaded.score, loaded.revision) == (None, 0)
    np.testing.assert_array_equal(loaded.vector, entry.vector)
    await rig.log.rate(owner="public", public_id="client-1", score=0.5, text=None, now=rig.clock.now())
    (rated,) = await rig.log.load([entry.record.id])
    assert rated is not None
    assert (rated.record, rated.score, rated.revision) == (Lesson.of(entry.record), 0.5, 1)
    assert await rig.log.load([]) == []


async def test_recording_twice_tells_the_learner_once(rig: Rig) -> None:
    """A spool may be replayed as often as it likes."""
    entries = [a_new_record(rig.clock.now()) for _ in range(3)]
    await rig.log.record(entries)
    await rig.log.record(entries)
    assert await events(rig) == [(EventKind.OUTCOME, entry.record.id, 1) for entry in entries]


@pytest.mark.parametrize(("owner", "seen"), [("a", True), ("b", False), ("public", False), (None, True)])
async def test_only_the_owner_and_an_admin_see_a_request(rig: Rig, owner: str | None, seen: bool) -> None:
    """Another owner's request looks as if it did not exist, by either id, to readers and raters."""
    entry = a_new_record(rig.clock.now(), public_id="x", owner="a")
    await rig.log.record([entry])
    for public_id in ("x", entry.record.id):
        assert (await rig.log.find(owner=owner, public_id=public_id) is not None) is seen
    assert (await rate(rig, entry.record.id, owner=owner) is Verdict.UNKNOWN) is not seen
    assert (await rate(rig, "x", owner=owner) is Verdict.UNKNOWN) is not seen


async def test_ratings_are_counted_by_revision(rig: Rig) -> None:
    """First, again, changed score, changed text, text taken back: each says what it was and only changes are events."""
    entry = a_new_record(rig.clock.now(), public_id="x")
    await rig.log.record([entry])
    steps = [
        (0.8, None, Verdict.ACCEPTED),
        (0.8, None, Verdict.DUPLICATE),
        (0.3, None, Verdict.REVISED),
        (0.3, "meh \ud800 ünï", Verdict.REVISED),
        (0.3, "meh \ud800 ünï", Verdict.DUPLICATE),
        (0.3, "", Verdict.REVISED),
        (0.3, None, Verdict.REVISED),
        (0, None, Verdict.REVISED),
        (0.0, None, Verdict.DUPLICATE),
    ]
    for score, text, verdict in steps:
        assert await rate(rig, "x", score, text) is verdict
        found = await rig.log.find(owner="public", public_id="x")
        assert found is not None
        assert found.rating is not None
        assert (found.rating.score, found.rating.text, found.rating.rated_at) == (score, text, rig.clock.now())
    read = await rig.queue.read("test", 100)
    assert [(event.kind, event.revision) for event in read[1:]] == [(EventKind.FEEDBACK, at) for at in range(1, 7)]
    assert [event.score for event in read[1:]] == [0.8, 0.3, 0.3, 0.3, 0.3, 0.0]


async def test_a_hundred_equal_concurrent_ratings_are_one(rig: Rig) -> None:
    """One is accepted, the others are duplicates, and the learner gets one event."""
    entry = a_new_record(rig.clock.now(), public_id="x")
    await rig.log.record([entry])
    verdicts = await asyncio.gather(*(rate(rig, "x") for _ in range(100)))
    assert sorted(verdicts) == [Verdict.ACCEPTED] + [Verdict.DUPLICATE] * 99
    assert len(await events(rig)) == 2


async def test_unknown_ids_are_unknown(rig: Rig) -> None:
    """Nothing is stored for an id that is not reserved."""
    assert await rate(rig, "never") is Verdict.UNKNOWN
    assert await rate(rig, own_id(rig.clock.now())) is Verdict.UNKNOWN
    assert await rig.log.find(owner="public", public_id="never") is None
    assert await events(rig) == []


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED, Status.TRUNCATED])
async def test_what_did_not_reach_the_client_whole_cannot_be_rated(rig: Rig, status: Status) -> None:
    """There was no answer to rate."""
    await rig.log.record([a_new_record(rig.clock.now(), public_id="x", status=status)])
    assert await rate(rig, "x") is Verdict.NOT_RATEABLE
    assert len(await events(rig)) == 1


async def test_the_window_closes(rig: Rig) -> None:
    """In time it counts, a second late it is expired, for recorded and for merely reserved requests."""
    await rig.log.record([a_new_record(rig.clock.now(), public_id="x")])
    await rig.log.reserve(owner="public", public_id="y", own_id=own_id(rig.clock.now()))
    rig.clock.advance(WINDOW_S - 1)
    assert await rate(rig, "x") is Verdict.ACCEPTED
    rig.clock.advance(2)
    assert await rate(rig, "x", 0.1) is Verdict.EXPIRED
    assert await rate(rig, "y") is Verdict.EXPIRED


async def test_a_rating_may_come_before_its_record(rig: Rig) -> None:
    """It is accepted on the reservation, kept, and the record brings its event along again."""
    entry = a_new_record(rig.clock.now(), public_id="x")
    await rig.log.reserve(owner="public", public_id="x", own_id=entry.record.id)
    assert await rate(rig, "x", 0.9) is Verdict.ACCEPTED
    assert await rate(rig, "x", 0.9) is Verdict.DUPLICATE
    assert await rate(rig, "x", 0.4) is Verdict.REVISED
    assert await rig.log.find(owner="public", public_id="x") is None
    assert await rig.log.load([entry.record.id]) == [None]
    await rig.queue.read("test", 100)
    await rig.log.record([entry])
    assert await events(rig) == [(EventKind.OUTCOME, entry.record.id, 1), (EventKind.FEEDBACK, entry.record.id, 2)]
    found = await rig.log.find(owner="public", public_id="x")
    assert found is not None
    assert found.rating is not None
    assert found.rating.score == 0.4


async def test_points_are_due_until_written_with_the_latest_rating(rig: Rig) -> None:
    """A writer of an older rating learns of it, and the point is due again even if another writer marked it as done."""
    entry = a_new_record(rig.clock.now(), public_id="x")
    await rig.log.record([entry])
    own = entry.record.id
    (outcome,) = await rig.queue.read("test", 10)
    await rig.posteriors.apply([Effect(outcome, entry.record.outcome.arm, rig.clock.now(), {"requests": 1})])
    assert await rig.log.pending_index(10) == {own: 0}
    assert await rig.log.pending_index(0) == {}
    await rate(rig, "x")
    assert await rig.log.indexed({own: 0}) == [own]
    assert await rig.log.pending_index(10) == {own: 1}
    assert await rig.log.indexed({own: 1}) == []
    assert await rig.log.pending_index(10) == {}
    assert await rig.log.indexed({own: 0}) == [own], "an older point may have been written over the newer one"
    assert await rig.log.pending_index(10) == {own: 1}
    assert await rig.log.indexed({own: 1, "gone": 0}) == []
    assert await rig.log.indexed({}) == []


async def test_what_is_anothers_is_denied_as_fast_as_what_never_was(rig: Rig) -> None:
    """A record of any size is not read for a caller that may not see it: the time reveals nothing (row 46)."""
    if rig.raw is None:
        return  # a dictionary has no telling times
    big = replace(a_record(rig.clock.now(), owner="a"), requested_model="x" * 3_000_000)
    await rig.log.record([NewRecord(big, None)])

    async def seconds(public_id: str) -> float:
        started = time.perf_counter()
        assert await rig.log.find(owner="b", public_id=public_id) is None
        return time.perf_counter() - started

    hidden = min([await seconds(big.id) for _ in range(20)])
    unknown = min([await seconds(own_id(rig.clock.now())) for _ in range(20)])
    assert hidden < 2 * unknown + 0.001
