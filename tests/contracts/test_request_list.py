"""Contract of `RequestList`, on the fake and on Redis."""

from __future__ import annotations

import pytest

from shared.schemas.records import Status
from shared.schemas.storage import Effect
from shared.schemas.traffic import TrafficBounds
from shared.storage import redis_keys
from shared.storage.redis_requests import GRACE_S, RedisRequestLog
from tests.support.redis_rig import WINDOW_S, Rig
from tests.support.sample_records import ARM, a_new_record


async def record(rig: Rig, number: int, owner: str = "public", status: Status = Status.ANSWERED) -> list[str]:
    """Store requests, a second after the other; return their own ids, newest first."""
    own_ids: list[str] = []
    for _ in range(number):
        rig.clock.advance(1)
        entry = a_new_record(rig.clock.now(), owner=owner, status=status)
        await rig.log.record([entry])
        own_ids.insert(0, entry.record.id)
    return own_ids


async def ids(rig: Rig, owner: str | None, before: str = "", limit: int = 10) -> list[str]:
    page = await rig.request_list.page(owner, before=before, limit=limit)
    return [stored.record.id for stored in page.requests]


async def test_requests_are_listed_newest_first_for_their_owner_and_of_all(rig: Rig) -> None:
    """Failed ones, too; a record that is stored again is listed once."""
    first, other = await record(rig, 2, "a"), await record(rig, 2, "b", Status.FAILED)
    assert await ids(rig, "a") == first
    assert await ids(rig, "b") == other
    assert await ids(rig, None) == other + first
    assert await ids(rig, "c") == []
    again = a_new_record(rig.clock.now(), owner="a", request_id=first[0])
    await rig.log.record([again, again])
    assert await ids(rig, "a") == first


async def test_pages_follow_one_another_without_gap_or_repetition(rig: Rig) -> None:
    """Also while new requests arrive; `last` is empty where the list has ended."""
    own_ids = await record(rig, 5)
    page = await rig.request_list.page(None, before="", limit=2)
    assert ([each.record.id for each in page.requests], page.last) == (own_ids[:2], own_ids[1])
    await record(rig, 1)
    page = await rig.request_list.page(None, before=page.last, limit=2)
    assert ([each.record.id for each in page.requests], page.last) == (own_ids[2:4], own_ids[3])
    page = await rig.request_list.page(None, before=page.last, limit=2)
    assert ([each.record.id for each in page.requests], page.last) == (own_ids[4:], "")


async def test_a_record_that_arrives_late_is_in_its_place(rig: Rig) -> None:
    """A gateway may keep records on its disk while Redis is away."""
    (new,) = await record(rig, 1)
    late = a_new_record(rig.clock.now() - 60)
    await rig.log.record([late])
    assert await ids(rig, None) == [new, late.record.id]


async def test_ratings_and_the_kind_of_prompt_are_there(rig: Rig) -> None:
    """The list shows what has become of a request since."""
    (own_id,) = await record(rig, 1)
    await rig.log.rate(owner="public", public_id=own_id, score=0.4, text=None, now=rig.clock.now())
    (event, _) = await rig.queue.read("one", 10)
    await rig.posteriors.apply([Effect(event, ARM, rig.clock.now(), {"requests": 1, "requests@3.7": 1})])
    ((stored,), _) = [(await rig.request_list.page(None, before="", limit=1)).requests, ""]
    assert stored.rating is not None
    assert (stored.rating.score, stored.outcome_applied, stored.kind) == (0.4, True, (3, 7))


async def test_the_lists_are_bounded(rig: Rig) -> None:
    """Each keeps its latest, as long as the last of them; with 0 there are no lists."""
    if rig.raw is None:
        pytest.skip("the fake has no bound")
    for bound, kept in ((2, 2), (0, 0)):
        await rig.raw.flushall()
        rig.log = RedisRequestLog(rig.raw, window_s=WINDOW_S, clock=rig.clock, traffic=TrafficBounds(requests=bound))
        own_ids = await record(rig, 3, "a")
        assert await ids(rig, None) == await ids(rig, "a") == own_ids[:kept]
        for key in (redis_keys.LISTED, redis_keys.listed("a")):
            lifetime_ms = (WINDOW_S + GRACE_S) * 1000
            assert await rig.raw.zcard(key) == kept
            assert await rig.raw.pttl(key) == pytest.approx(lifetime_ms, abs=5000) or not kept


async def test_a_request_that_is_gone_or_damaged_is_left_out(rig: Rig) -> None:
    """The others of the page are shown, and the next page begins where this one ended."""
    if rig.raw is None:
        pytest.skip("the fake keeps all of them")
    own_ids = await record(rig, 4)
    await rig.raw.delete(redis_keys.request(own_ids[0]))
    await rig.raw.set(redis_keys.request(own_ids[1]), "damaged")
    await rig.raw.set(redis_keys.story(own_ids[3]), "{")
    page = await rig.request_list.page(None, before="", limit=4)
    assert ([each.record.id for each in page.requests], page.last) == ([own_ids[2]], own_ids[3])


async def test_a_damaged_list_keeps_no_record_out(rig: Rig) -> None:
    """The list is a convenience; the record and its event are not."""
    if rig.raw is None:
        pytest.skip("nothing of the fake is damaged")
    await rig.raw.set(redis_keys.LISTED, "damaged")
    (own_id,) = await record(rig, 1)
    assert await rig.log.find(owner="public", public_id=own_id) is not None
    assert [event.request_id for event in await rig.queue.read("one", 10)] == [own_id]
    assert await ids(rig, "public") == [own_id]
