"""Contract of `EventQueue`, on the fake and on Redis."""

from __future__ import annotations

import pytest

from shared.schemas.events import FIRST_VERSION, EventKind
from tests.support.redis_rig import Rig
from tests.support.sample_records import a_new_record


async def filled(rig: Rig, number: int) -> list[str]:
    """Put outcome events into the stream; return their request ids."""
    entries = [a_new_record(rig.clock.now()) for _ in range(number)]
    await rig.log.record(entries)
    return [entry.record.id for entry in entries]


async def test_each_event_is_handed_out_once_and_in_order(rig: Rig) -> None:
    """Two consumers share the stream without overlap."""
    await rig.queue.prepare()
    ids = await filled(rig, 5)
    first = await rig.queue.read("one", 3)
    second = await rig.queue.read("two", 10)
    assert [event.request_id for event in first + second] == ids
    assert {(event.kind, event.revision, event.version, event.deliveries) for event in first} == {
        (EventKind.OUTCOME, 1, FIRST_VERSION, 1)
    }
    assert await rig.queue.read("one", 10) == []


async def test_before_the_first_event_there_is_no_consumer_to_forget(rig: Rig) -> None:
    """Housekeeping at the very first start finds no stream and says so, without an error."""
    assert await rig.queue.forget_consumers(0) == 0


async def test_what_was_left_can_be_claimed_and_deliveries_are_counted(rig: Rig) -> None:
    """Only after the idle time; by any consumer; in order; as often as it is left again."""
    ids = await filled(rig, 4)
    await rig.queue.read("dead", 10)
    assert await rig.queue.claim("alive", idle_s=30, limit=10) == []
    await rig.pass_time(0.05)
    claimed = await rig.queue.claim("alive", idle_s=0.04, limit=3)
    assert [(event.request_id, event.deliveries) for event in claimed] == [(own_id, 2) for own_id in ids[:3]]
    rest = await rig.queue.claim("alive", idle_s=0.04, limit=3)
    assert [event.request_id for event in rest] == ids[3:]
    await rig.pass_time(0.05)
    again = await rig.queue.claim("other", idle_s=0.04, limit=10)
    assert [event.deliveries for event in again] == [3] * 4


async def test_a_buried_event_is_a_dead_letter_and_can_come_back(rig: Rig) -> None:
    """It leaves the stream once, keeps its reason, and returns as a new event with the same content."""
    (own_id,) = await filled(rig, 1)
    (event,) = await rig.queue.read("one", 1)
    await rig.queue.bury(event, "cannot be read")
    await rig.queue.bury(event, "cannot be read")
    depth = await rig.queue.depth()
    assert (depth.waiting, depth.dead) == (0, 1)
    assert await rig.queue.claim("one", idle_s=0, limit=10) == []
    (letter,) = await rig.queue.dead(10)
    assert (letter.event.request_id, letter.event.kind, letter.reason) == (own_id, event.kind, "cannot be read")

    assert await rig.queue.requeue(10) == 1
    assert await rig.queue.requeue(10) == 0
    (back,) = await rig.queue.read("one", 10)
    assert (back.request_id, back.kind, back.revision, back.deliveries) == (own_id, event.kind, event.revision, 1)
    assert (await rig.queue.depth()).dead == 0


async def test_requeue_takes_no_more_than_requested(rig: Rig) -> None:
    """The oldest come first."""
    ids = await filled(rig, 3)
    for event in await rig.queue.read("one", 3):
        await rig.queue.bury(event, "for a test")
    assert await rig.queue.requeue(2) == 2
    assert [event.request_id for event in await rig.queue.read("one", 10)] == ids[:2]
    assert [letter.event.request_id for letter in await rig.queue.dead(10)] == ids[2:]


async def test_depth_tells_how_much_waits_and_how_long(rig: Rig) -> None:
    """Handed out but not acknowledged still waits."""
    empty = await rig.queue.depth()
    assert (empty.waiting, empty.age_s, empty.dead, empty.unindexed) == (0, 0.0, 0, 0)
    await filled(rig, 2)
    await rig.queue.read("one", 1)
    await rig.pass_time(0.05)
    depth = await rig.queue.depth()
    assert depth.waiting == 2
    assert depth.age_s >= 0.04


async def test_only_silent_consumers_that_hold_nothing_are_forgotten(rig: Rig) -> None:
    """An event in the hands of a dead learner is never lost with it."""
    await filled(rig, 1)
    await rig.queue.read("holds one", 10)
    await rig.queue.read("holds nothing", 10)
    assert await rig.queue.forget_consumers(60) == 0
    await rig.pass_time(0.05)
    assert await rig.queue.forget_consumers(0.04) == 1
    assert len(await rig.queue.claim("other", idle_s=0.04, limit=10)) == 1


@pytest.mark.parametrize("times", [1, 3])
async def test_waking_never_fails_however_often(rig: Rig, times: int) -> None:
    """It is a hint; many together are as good as one."""
    for _ in range(times):
        await rig.queue.wake()
