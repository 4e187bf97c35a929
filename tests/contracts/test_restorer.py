"""Contract of `Restorer`, on the fake and on Redis."""

from __future__ import annotations

from shared.clock import utc_day
from shared.schemas.events import Event, EventKind
from shared.schemas.history import Contribution, PastRating, PastRequest
from shared.schemas.records import Status
from shared.schemas.storage import Applied, Effect, Reservation, Verdict
from tests.support.redis_rig import Rig
from tests.support.sample_records import ARM, a_new_record, own_id
from tests.support.values import replace


def rated(rig: Rig, **facts: object) -> PastRequest:
    """A request that was rated twice and learned from."""
    entry = a_new_record(rig.clock.now(), **facts)
    ratings = [PastRating(entry.record.id, at, score, "why", rig.clock.now()) for at, score in ((1, 0.1), (2, 0.5))]
    ledger = (
        Contribution(entry.record.id, EventKind.OUTCOME, 1, {"requests": 1}),
        Contribution(entry.record.id, EventKind.FEEDBACK, 2, {"labels": 1, "score_micro": 500_000}),
    )
    return PastRequest(entry, tuple(ratings), ledger)


async def test_a_restored_request_is_what_it_was(rig: Rig) -> None:
    """Found by its ids, with its latest rating; the same rating is a duplicate, and the learner gets no event."""
    past = rated(rig, public_id="x")
    rig.archive.add(past.entry.record)
    for _ in range(2):
        await rig.restorer.requests([past])
    for public_id in ("x", past.entry.record.id):
        found = await rig.log.find(owner="public", public_id=public_id)
        assert found is not None
        assert found.record == past.entry.record
        assert found.rating is not None
        assert (found.rating.score, found.rating.revision, found.rating.text) == (0.5, 2, "why")
        assert (found.outcome_applied, found.rating_applied) == (True, 2)
    again = await rig.log.rate(owner="public", public_id="x", score=0.5, text="why", now=rig.clock.now())
    assert again is Verdict.DUPLICATE
    assert (await rig.queue.depth()).waiting == 0


async def test_a_revision_replaces_what_the_restored_one_had_added(rig: Rig) -> None:
    """The ledger is back, so what was learned before the loss is taken out when it is revised after it."""
    past = rated(rig)
    record = past.entry.record
    await rig.restorer.requests([past])
    sums = {"requests": 1, "labels": 1, "score_micro": 500_000}
    await rig.restorer.sums({(ARM, utc_day(record.created_at)): sums})
    event = Event("0-1", EventKind.FEEDBACK, record.id, 2, score=0.5)
    effect = Effect(event, ARM, record.created_at, {"labels": 1, "score_micro": 1_000_000})
    revised = replace(effect, event=replace(event, revision=3))
    assert await rig.posteriors.apply([effect, revised]) == [Applied.REPLAYED, Applied.APPLIED]
    total = (await rig.posteriors.load()).arms[ARM].total
    assert (total.requests, total.labels, total.score) == (1, 1, 1)


async def test_public_ids_keep_their_owners(rig: Rig) -> None:
    """The id of a failed request is free, or its later holder's; that of an answered one is taken."""
    failed, later = rated(rig, public_id="x", status=Status.FAILED), rated(rig, public_id="x")
    other = rated(rig, public_id="y", status=Status.FAILED)
    rig.archive.add(later.entry.record)
    await rig.restorer.requests([failed, later, other])
    found = await rig.log.find(owner="public", public_id="x")
    assert found is not None
    assert found.record == later.entry.record
    claims = [
        await rig.log.reserve(owner="public", public_id=name, own_id=own_id(rig.clock.now())) for name in ("x", "y")
    ]
    assert [claim.reservation for claim in claims] == [Reservation.TAKEN, Reservation.NEW]


async def test_sums_are_put_in_place_of_what_is_there(rig: Rig) -> None:
    """Putting them back twice does not double them, and readers notice."""
    before = (await rig.posteriors.load()).version
    days = {(ARM, utc_day(rig.clock.now())): {"requests": 3}, ("b/c", utc_day(rig.clock.now())): {"requests": 5}}
    for _ in range(2):
        await rig.restorer.sums(days)
    state = await rig.posteriors.load()
    assert state.version != before
    assert {arm: sums.total.requests for arm, sums in state.arms.items()} == {ARM: 3, "b/c": 5}


async def test_clearing_forgets_everything_but_what_waits(rig: Rig) -> None:
    """Empty before, not empty with a request or a sum, empty again; events stay for the learner."""
    assert await rig.restorer.is_empty()
    entry = a_new_record(rig.clock.now(), public_id="x")
    await rig.log.record([entry])
    assert not await rig.restorer.is_empty()
    await rig.restorer.clear()
    assert await rig.restorer.is_empty()
    assert await rig.log.find(owner="public", public_id="x") is None
    assert (await rig.queue.depth()).waiting == 1
    await rig.restorer.sums({(ARM, utc_day(rig.clock.now())): {"requests": 1}})
    assert not await rig.restorer.is_empty()
