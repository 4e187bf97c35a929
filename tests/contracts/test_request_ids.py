"""Contract of `RequestLog`: ids. An own id means its own request, and an ambiguous id is reported."""

from __future__ import annotations

import asyncio
import time

import pytest

from shared.errors import Conflict
from shared.schemas.quota import Charge, Limits
from shared.schemas.records import Status
from shared.schemas.storage import NewRecord, RatingTerms, Reservation, Verdict
from shared.storage import redis_keys
from tests.support.redis_rig import Rig
from tests.support.sample_records import a_new_record, own_id


async def recorded(rig: Rig, **facts: object) -> NewRecord:
    entry = a_new_record(rig.clock.now(), **facts)
    await rig.log.record([entry])
    return entry


async def found(rig: Rig, public_id: str, owner: str | None = None) -> str | None:
    story = await rig.log.find(owner=owner, public_id=public_id)
    return None if story is None else story.record.id


async def rate(rig: Rig, public_id: str, score: float, owner: str | None = None, per_minute: int = 0) -> Verdict:
    terms = RatingTerms(rater="rater", per_minute=per_minute)
    return await rig.log.rate(
        owner=owner, public_id=public_id, score=score, text=None, now=rig.clock.now(), terms=terms
    )


async def claim(rig: Rig, public_id: str, owner: str = "b", charge: Charge | None = None) -> Reservation:
    own = own_id(rig.clock.now())
    return (await rig.log.reserve(owner=owner, public_id=public_id, own_id=own, charge=charge)).reservation


@pytest.mark.parametrize("limits", [Limits(), Limits(requests=5)], ids=["free", "limited"])
@pytest.mark.parametrize("owner", ["a", "b", "public"])
async def test_anothers_own_id_cannot_be_claimed(rig: Rig, owner: str, limits: Limits) -> None:
    """By no caller, with limits and without; a free id of the same form can be."""
    charge = Charge(limits, 1, 1, "2026-11-30") if limits else None
    mine = (await recorded(rig, owner="a", public_id="mine")).record.id
    assert await claim(rig, mine, owner, charge) is Reservation.TAKEN
    assert await found(rig, mine) == mine
    assert await claim(rig, own_id(rig.clock.now()), owner, charge) is Reservation.NEW


async def test_a_failed_requests_own_id_is_its_owners_to_claim_again(rig: Rig) -> None:
    """A client that sent no id may repeat the one it was given; no other may. A second failure frees it again."""
    entry = a_new_record(rig.clock.now(), owner="a", status=Status.FAILED)
    failed = entry.record.id
    await rig.log.record([entry])
    assert await claim(rig, failed, "b") is Reservation.TAKEN
    again = a_new_record(rig.clock.now(), owner="a", public_id=failed, status=Status.FAILED)
    reserved = await rig.log.reserve(owner="a", public_id=failed, own_id=again.record.id)
    assert reserved.reservation is Reservation.NEW
    assert await claim(rig, failed, "a") is Reservation.TAKEN
    await rig.log.record([again])
    assert await claim(rig, failed, "a") is Reservation.NEW
    assert await found(rig, failed) == failed, "an admin's own ids go before"


async def test_for_an_admin_an_own_id_goes_before_a_clients(rig: Rig) -> None:
    """Also where a client has named its request so while Redis was away: that one is found by its own id."""
    first = (await recorded(rig, owner="a")).record.id
    squatter = (await recorded(rig, owner="b", public_id=first)).record.id
    assert await found(rig, first) == first
    assert await found(rig, squatter) == squatter
    assert await rate(rig, first, 0.9) is Verdict.ACCEPTED
    loaded = await rig.log.load([first, squatter])
    assert [each.score for each in loaded if each is not None] == [0.9, None]
    assert await found(rig, first, "b") is None, "it is another's"


async def test_an_own_id_that_comes_later_goes_before_as_well(rig: Rig) -> None:
    """The record with the borrowed id was stored first."""
    late = a_new_record(rig.clock.now(), owner="a")
    squatter = (await recorded(rig, owner="b", public_id=late.record.id)).record.id
    assert await found(rig, late.record.id) == squatter
    await rig.log.record([late])
    assert await found(rig, late.record.id) == late.record.id
    assert await found(rig, late.record.id, "b") == squatter


@pytest.mark.parametrize("second", ["b", "public"])
async def test_an_id_of_several_owners_is_ambiguous_to_an_admin(rig: Rig, second: str) -> None:
    """Their own ids are named; each owner's is its own, and nothing is rated by chance."""
    own = [(await recorded(rig, owner=owner, public_id="x")).record.id for owner in ("a", second)]
    for asking in (found(rig, "x"), rate(rig, "x", 0.5)):
        with pytest.raises(Conflict) as caught:
            await asking
        assert caught.value.code == "ambiguous_request_id"
        assert all(each in str(caught.value) for each in own)
    assert [await found(rig, "x", owner) for owner in ("a", second)] == own
    assert [each.score for each in await rig.log.load(own) if each is not None] == [None, None]
    assert await rate(rig, own[1], 0.5) is Verdict.ACCEPTED


async def test_a_repeated_request_of_one_owner_is_not_ambiguous(rig: Rig) -> None:
    """An id that was claimed again after a failure means the newer request, to an admin, too."""
    await recorded(rig, owner="a", public_id="x", status=Status.FAILED)
    again = a_new_record(rig.clock.now(), owner="a", public_id="x")
    await rig.log.reserve(owner="a", public_id="x", own_id=again.record.id)
    assert await rate(rig, "x", 0.4) is Verdict.ACCEPTED, "its record is on its way"
    await rig.log.record([again])
    assert await found(rig, "x") == again.record.id
    assert await rate(rig, "x", 0.4) is Verdict.DUPLICATE


async def test_what_an_earlier_version_kept_for_admins_is_found(rig: Rig) -> None:
    """One alias for all owners: it still names a request."""
    if rig.raw is None:
        return
    entry = await recorded(rig, owner="a", public_id="x")
    await rig.raw.delete(redis_keys.owners("x"))
    await rig.raw.set(redis_keys.alias("*", "x"), entry.record.id + "!")
    assert await found(rig, "x") == entry.record.id


async def test_what_is_not_known_uses_up_no_ratings(rig: Rig) -> None:
    """The gateway answers 503 where it may be on its way, and the client comes again; what is judged counts."""
    entry = a_new_record(rig.clock.now())
    own = entry.record.id
    for _ in range(5):
        assert await rate(rig, own, 0.5, per_minute=2) is Verdict.UNKNOWN
    failed = (await recorded(rig, status=Status.FAILED)).record.id
    await rig.log.record([entry])
    assert await rate(rig, own, 0.5, per_minute=2) is Verdict.ACCEPTED
    assert await rate(rig, failed, 0.5, per_minute=2) is Verdict.NOT_RATEABLE
    assert await rate(rig, own, 0.6, per_minute=2) is Verdict.LIMITED


async def test_the_counter_of_a_minute_does_not_stay(rig: Rig) -> None:
    """Whatever is judged first: two minutes later the key is gone."""
    if rig.raw is None:
        return
    own = (await recorded(rig)).record.id
    started = time.monotonic()
    verdicts = await asyncio.gather(*(rate(rig, own, 0.5, per_minute=9) for _ in range(3)))
    assert Verdict.DUPLICATE in verdicts
    key = redis_keys.feedback_rate("rater", int(rig.clock.now() // 60))
    assert int(await rig.raw.get(key)) == 3
    assert 120_000 - 1000 * (time.monotonic() - started) - 100 <= await rig.raw.pttl(key) <= 120_000
