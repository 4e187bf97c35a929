"""Limits of a key, on the fake and on Redis: charges, refusals, refunds, and the overshoot of a crowd."""

from __future__ import annotations

import asyncio
import time

import pytest

from shared.clock import utc_day
from shared.schemas.quota import Charge, Limit, Limits, Toll
from shared.schemas.records import Status
from shared.schemas.storage import Claim, Reservation
from tests.support.redis_rig import Rig
from tests.support.sample_records import a_new_record, own_id
from tests.support.values import replace

NANO = 1_000_000_000


def charge(rig: Rig, limits: Limits, tokens: int = 100, usd: float = 0.01) -> Charge:
    return Charge(limits, tokens, round(usd * NANO), utc_day(rig.clock.now()))


async def claim(rig: Rig, paid: Charge | None, *, owner: str = "a", public_id: str | None = None) -> Claim:
    new = own_id(rig.clock.now())
    return await rig.log.reserve(owner=owner, public_id=public_id or new, own_id=new, charge=paid)


async def test_requests_refill_all_the_time(rig: Rig) -> None:
    """As many as the limit together, then one for each share of a minute that passes."""
    paid = charge(rig, Limits(requests=120))
    claims = [await claim(rig, paid) for _ in range(120)]
    assert {one.reservation for one in claims} == {Reservation.NEW}
    left = [one.quota.requests for one in claims if one.quota]
    assert left[0] == pytest.approx(119, abs=0.5)
    while (last := await claim(rig, paid)).reservation is Reservation.NEW:
        pass  # what came back while we asked
    assert last.reservation is Reservation.REFUSED
    assert last.quota is not None
    assert last.quota.refused is Limit.REQUESTS
    assert (await claim(rig, paid, owner="b")).reservation is Reservation.NEW
    started, came_back = time.monotonic(), 0
    await rig.pass_time(0.6)
    while came_back < 50 and (await claim(rig, paid)).reservation is Reservation.NEW:
        came_back += 1
    assert 1 <= came_back <= 2 * (0.6 + time.monotonic() - started) + 1, "two a second"


async def test_a_crowd_overshoots_by_one_reservation(rig: Rig) -> None:
    """A hundred concurrently at the edge: those are admitted whose reservations fit, and no more (row 51)."""
    for owner, limits, limit in (
        ("usd", Limits(nano_usd=NANO // 10), Limit.BUDGET),
        ("tpm", Limits(tokens=1000), Limit.TOKENS),
    ):
        paid = charge(rig, limits, tokens=150, usd=0.015)
        claims = await asyncio.gather(*(claim(rig, paid, owner=owner) for _ in range(100)))
        inside = [one for one in claims if one.reservation is Reservation.NEW]
        assert len(inside) == 7, "six leave something, the seventh takes it"
        assert {one.quota.refused for one in claims if one.quota} == {None, limit}


async def test_what_was_not_used_is_given_back_once(rig: Rig) -> None:
    """Recording settles the real figures, and recording again does not settle again."""
    limits = Limits(tokens=1000, nano_usd=NANO)
    paid = charge(rig, limits, tokens=900, usd=0.9)
    entry = a_new_record(rig.clock.now(), owner="a", cost_usd=0.1)
    record = replace(entry.record, toll=Toll(paid.day, paid.tokens, paid.nano_usd))
    entry = replace(entry, record=record)
    await rig.log.reserve(owner="a", public_id=record.public_id, own_id=record.id, charge=paid)
    await rig.log.record([entry])
    await rig.log.record([entry])
    after = (await claim(rig, charge(rig, limits, tokens=0, usd=0))).quota
    assert after is not None
    assert after.spent == round(record.outcome.spent_usd * NANO)
    assert after.tokens == pytest.approx(1000 - 46, abs=30)


async def test_what_was_not_reserved_is_paid_when_it_is_recorded(rig: Rig) -> None:
    """Spent while Redis was away, replayed from the spool: the budget knows of it, the minute is over."""
    limits = Limits(tokens=1000, nano_usd=NANO)
    await claim(rig, charge(rig, limits, tokens=0, usd=0))
    entry = a_new_record(rig.clock.now(), owner="a", cost_usd=0.25)
    toll = Toll(utc_day(rig.clock.now()), None, 0)
    await rig.log.record([replace(entry, record=replace(entry.record, toll=toll))])
    after = (await claim(rig, charge(rig, limits, tokens=0, usd=0))).quota
    assert after is not None
    assert after.spent == round(0.25 * NANO)
    assert after.tokens == pytest.approx(1000, abs=1)


async def test_both_or_neither(rig: Rig) -> None:
    """A taken id costs nothing, a refused request leaves its id free, and one's own claim again changes nothing."""
    limits = Limits(nano_usd=NANO)
    paid = charge(rig, limits, usd=0.6)
    mine = own_id(rig.clock.now())
    for _ in range(2):
        again = await rig.log.reserve(owner="a", public_id="x", own_id=mine, charge=paid)
        assert again.reservation is Reservation.NEW
    assert (await claim(rig, paid, public_id="x")).reservation is Reservation.TAKEN
    second = await claim(rig, paid)
    assert second.reservation is Reservation.NEW, "what was sent again has paid once"
    assert second.quota is not None
    assert second.quota.spent == round(1.2 * NANO)
    assert (await claim(rig, paid, public_id="y")).reservation is Reservation.REFUSED
    free = await claim(rig, None, public_id="y")
    assert (free.reservation, free.quota) == (Reservation.NEW, None)


async def test_the_next_day_has_its_own_budget(rig: Rig) -> None:
    """What was spent belongs to the day on which it was reserved."""
    limits = Limits(nano_usd=NANO // 100)
    assert (await claim(rig, charge(rig, limits))).reservation is Reservation.NEW
    assert (await claim(rig, charge(rig, limits))).reservation is Reservation.REFUSED
    rig.clock.advance(86_400)
    assert (await claim(rig, charge(rig, limits))).reservation is Reservation.NEW


async def test_a_debt_of_tokens_is_paid_by_waiting(rig: Rig) -> None:
    """One request may take more than a minute gives; then the key waits until that has come back."""
    limits = Limits(tokens=60_000)
    assert (await claim(rig, charge(rig, limits, tokens=60_300))).reservation is Reservation.NEW
    refused = await claim(rig, charge(rig, limits, tokens=1))
    assert refused.quota is not None
    assert refused.quota.refused is Limit.TOKENS
    await rig.pass_time(0.4)
    assert (await claim(rig, charge(rig, limits, tokens=1))).reservation is Reservation.NEW


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED])
async def test_however_it_ends_it_is_settled(rig: Rig, status: Status) -> None:
    """A failure that cost nothing gives everything back."""
    paid = charge(rig, Limits(nano_usd=NANO), usd=0.9)
    entry = a_new_record(rig.clock.now(), owner="a", status=status, cost_usd=0.0)
    record = replace(entry.record, toll=Toll(paid.day, paid.tokens, paid.nano_usd))
    await rig.log.reserve(owner="a", public_id=record.public_id, own_id=record.id, charge=paid)
    await rig.log.record([replace(entry, record=record)])
    after = (await claim(rig, charge(rig, Limits(nano_usd=NANO), usd=0))).quota
    assert after is not None
    assert after.spent == round(record.outcome.spent_usd * NANO)


async def test_what_is_released_was_never_taken(rig: Rig) -> None:
    """The id is free again and the key has what it had; releasing again, or another's, changes nothing."""
    limits = Limits(requests=10, tokens=1000, nano_usd=NANO)
    nothing, paid = charge(rig, limits, tokens=0, usd=0), charge(rig, limits, tokens=600, usd=0.6)
    before = (await claim(rig, nothing)).quota
    mine, other = own_id(rig.clock.now()), own_id(rig.clock.now())
    await rig.log.reserve(owner="a", public_id="x", own_id=mine, charge=paid)
    await rig.log.release(owner="a", public_id="x", own_id=other, charge=paid)
    assert (await claim(rig, None, public_id="x")).reservation is Reservation.TAKEN
    for _ in range(2):
        await rig.log.release(owner="a", public_id="x", own_id=mine, charge=paid)
    again = await rig.log.reserve(owner="a", public_id="x", own_id=other, charge=nothing)
    assert again.reservation is Reservation.NEW
    assert before is not None
    assert again.quota is not None
    assert again.quota.spent == before.spent == 0
    assert again.quota.tokens == pytest.approx(before.tokens, abs=50)
    assert again.quota.requests == pytest.approx(before.requests - 1, abs=0.5)


async def test_the_unused_part_of_a_charge_is_given_back(rig: Rig) -> None:
    """For a request that leaves no record: it counts as one, with what it has used; the id is free again."""
    limits = Limits(requests=10, tokens=1000, nano_usd=NANO)
    nothing, paid = charge(rig, limits, tokens=0, usd=0), charge(rig, limits, tokens=600, usd=0.6)
    mine = own_id(rig.clock.now())
    await rig.log.reserve(owner="a", public_id="x", own_id=mine, charge=paid)
    for _ in range(2):
        await rig.log.release(owner="a", public_id="x", own_id=mine, charge=paid.unused(100, NANO // 10))
    after = await claim(rig, nothing, public_id="x")
    assert after.reservation is Reservation.NEW
    assert after.quota is not None
    assert after.quota.spent == NANO // 10
    assert after.quota.tokens == pytest.approx(900, abs=50)
    assert after.quota.requests == pytest.approx(8, abs=0.5)


@pytest.mark.parametrize("status", list(Status))
async def test_what_is_recorded_is_not_released(rig: Rig, status: Status) -> None:
    """However it ended: what it has spent stays spent, and an id that is taken stays taken."""
    paid = charge(rig, Limits(nano_usd=NANO), usd=0.9)
    entry = a_new_record(rig.clock.now(), owner="a", status=status, cost_usd=0.1)
    record = replace(entry.record, toll=Toll(paid.day, paid.tokens, paid.nano_usd))
    await rig.log.reserve(owner="a", public_id=record.public_id, own_id=record.id, charge=paid)
    await rig.log.record([replace(entry, record=record)])
    await rig.log.release(owner="a", public_id=record.public_id, own_id=record.id, charge=paid)
    after = (await claim(rig, charge(rig, Limits(nano_usd=NANO), usd=0))).quota
    assert after is not None
    assert after.spent == round(record.outcome.spent_usd * NANO)
    again = await claim(rig, None, public_id=record.public_id)
    assert (again.reservation is Reservation.NEW) is (status is Status.FAILED)
