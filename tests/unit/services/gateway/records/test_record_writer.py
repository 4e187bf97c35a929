"""Records: written in groups, spooled while Redis is away, never lost silently, never waited for in vain."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

import numpy as np
import pytest

from services.gateway.records import record_writer
from services.gateway.records.record_writer import RecordWriter
from services.gateway.records.spool import SUFFIX, Spool
from shared.bandit.decision import Decision, DecisionKind
from shared.clock import SystemClock
from shared.errors import DependencyError
from shared.resilience.supervision import Pulse, running
from shared.schemas.ids import uuid7
from shared.schemas.records import Outcome, RequestRecord, Status
from shared.schemas.storage import NewRecord
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.event_queue import FakeEventQueue
from tests.support.fakes.gateway import World
from tests.support.fakes.supervision import new_supervisor


def entry(number: int = 0) -> NewRecord:
    own_id = uuid7(1_795_000_000.0 + number)
    outcome = Outcome(Status.ANSWERED, "a/small", 0.1, "upstream", 1, 2, 0.001, 0.5, None, streamed=False, attempts=())
    decision = Decision(DecisionKind.DEFAULT, ("a/small",), 1.0, 0.0, "because")
    record = RequestRecord(own_id, own_id, "public", 1_795_000_000.0, None, "fake", decision, outcome)
    return NewRecord(record, np.full(4, number, dtype=np.float32) if number else None)


def recorder(world: World, spool: Spool) -> RecordWriter:
    queue = FakeEventQueue(world.memory)
    return RecordWriter(world.log, queue, spool, timeout_s=0.5, clock=SystemClock(), metrics=world.metrics)


def spool_of(world: World, max_bytes: int = 1_000_000) -> Spool:
    return Spool(world.settings.SPOOL_DIR, max_bytes=max_bytes)


async def test_requests_that_end_together_share_a_write(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred concurrent records cost a few writes, and each is stored when its request goes on."""
    writes: list[int] = []
    record = world.log.record

    async def counting(entries: Sequence[NewRecord]) -> None:
        writes.append(len(entries))
        await asyncio.sleep(0.005)
        await record(entries)

    monkeypatch.setattr(world.log, "record", counting)
    writer = recorder(world, spool_of(world))
    async with running([writer.write_for_ever(Pulse())]):
        await asyncio.gather(*(writer.put(entry(number)) for number in range(100)))
    assert sum(writes) == 100 == len(world.records)
    assert len(writes) <= 3


async def test_a_cancelled_request_neither_loses_its_record_nor_hangs_its_neighbours(world: World) -> None:
    """A caller that leaves while it waits for the write does not affect the others."""
    writer = recorder(world, spool_of(world))
    leaver, stayer = writer.put(entry(1)), writer.put(entry(2))
    leaver.cancel()
    async with running([writer.write_for_ever(Pulse())]):
        await asyncio.wait_for(stayer, 2.0)
    assert len(world.records) == 2


async def test_away_redis_means_disk_and_its_return_means_redis(world: World) -> None:
    """Sent = recorded: what could not be stored is on disk, then stored once, with its vector."""
    spool = spool_of(world)
    writer = recorder(world, spool)
    entries = [entry(number) for number in range(5)]
    async with running([writer.write_for_ever(Pulse())]):
        world.memory.away = True
        await asyncio.gather(*map(writer.put, entries))
        assert spool.waiting == 5
        assert world.counted("spooled") == 5
        world.memory.away = False
        await writer.replay()
    assert [record.id for record in world.records] == [each.record.id for each in entries]
    for each in entries:
        stored = world.memory.stories[each.record.id].vector
        assert (None if stored is None else stored.tolist()) == (None if each.vector is None else each.vector.tolist())
    assert spool.waiting == 0
    assert not list(world.settings.SPOOL_DIR.glob(f"*{SUFFIX}"))


async def test_records_that_neither_redis_nor_disk_takes_wait_in_memory(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer waits for that. They are stored when Redis is back; those above the bound are lost, and counted."""
    monkeypatch.setattr(record_writer, "MAX_KEPT", 2)
    writer, entries = recorder(world, spool_of(world, max_bytes=10)), [entry(number) for number in range(3)]
    world.memory.away = True
    async with running([writer.write_for_ever(Pulse())]):
        for each in entries:
            assert await asyncio.wait_for(writer.put(each), 2.0) is False
    assert (writer.losing, writer.behind, writer.spooled, world.counted("records_lost")) == (True, True, 2, 1)
    with pytest.raises(DependencyError):
        await writer.replay()
    assert writer.spooled == 2
    world.memory.away = False
    await writer.replay()
    assert [record.id for record in world.records] == [each.record.id for each in entries[:2]]
    assert (writer.losing, writer.spooled, world.counted("records_lost")) == (False, 0, 1)


async def test_records_in_memory_at_the_end_go_to_disk_or_are_counted(world: World) -> None:
    """A process that ends takes none of them with it in silence."""
    for max_bytes, stored, lost in ((1_000_000, 1, 0), (10, 0, 1)):
        spool = spool_of(world, max_bytes=10)
        writer = recorder(world, spool)
        world.memory.away = True
        async with running([writer.write_for_ever(Pulse())]):
            await writer.put(entry(1))
        spool._max_bytes = max_bytes
        await writer.close()
        assert sum(file.read_bytes().count(b"\n") for file in world.settings.SPOOL_DIR.glob("*")) == stored
        assert world.counted("records_lost") == lost
        for file in world.settings.SPOOL_DIR.glob("*"):
            file.unlink()


async def test_a_full_disk_gets_all_records_once_it_has_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line is cut off, one file is used; what the disk has refused is written before what comes later."""
    spool = spool_of(world)
    writer, write = recorder(world, spool), os.write
    full = True

    def bounded(descriptor: int, data: bytes | memoryview) -> int:
        if full and len(data) < 100:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:-50] if full else data)

    monkeypatch.setattr(os, "write", bounded)
    world.memory.away = True
    async with running([writer.write_for_ever(Pulse())]):
        entries = [entry(number) for number in range(6)]
        for each in entries[:5]:
            await writer.put(each)
        assert (world.counted("records_lost"), spool.waiting, writer.losing) == (0, 0, True)
        with pytest.raises(DependencyError):
            await writer.replay()
        full = False
        with pytest.raises(DependencyError):
            await writer.replay()
        assert (writer.losing, spool.waiting) == (False, 5)
        await writer.put(entries[5])
    assert sum(file.read_bytes().count(b"\n") for file in world.settings.SPOOL_DIR.glob(f"*{SUFFIX}")) == 6
    world.memory.away = False
    await writer.replay()
    assert [record.id for record in world.records] == [each.record.id for each in entries]
    assert (spool.waiting, world.counted("records_lost")) == (0, 0)


async def test_redis_that_comes_back_makes_ready_again_where_the_disk_stays_full(world: World) -> None:
    """The probe is a write, so that a Redis that only reads does not count."""
    writer = recorder(world, spool_of(world, max_bytes=10))
    world.memory.away = True
    async with running([writer.write_for_ever(Pulse())]):
        await writer.put(entry())
    with pytest.raises(DependencyError):
        await writer.replay()
    losing = [writer.losing]
    world.memory.away = False
    await writer.replay()
    assert [*losing, writer.losing] == [True, False]


async def test_a_writer_that_breaks_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad batch stops neither its own requests nor the next batch."""
    writer = recorder(world, spool_of(world))

    async def broken(_: Sequence[NewRecord]) -> None:
        raise ZeroDivisionError

    async with running([writer.write_for_ever(Pulse())]):
        monkeypatch.setattr(world.log, "record", broken)
        await asyncio.wait_for(writer.put(entry(1)), 2.0)
        monkeypatch.undo()
        await asyncio.wait_for(writer.put(entry(2)), 2.0)
    assert len(world.records) == 1
    assert world.counted("records_lost") == 1


async def test_a_writer_that_is_cancelled_from_below_loses_no_record(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch it had in hand is written by its next run, and its callers go on."""
    writer, supervisor = recorder(world, spool_of(world)), new_supervisor()
    record, calls = world.log.record, 0

    async def cancelled_once(entries: Sequence[NewRecord]) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise asyncio.CancelledError
        await record(entries)

    monkeypatch.setattr(world.log, "record", cancelled_once)
    async with supervisor.running({"records": writer.write_for_ever}):
        assert await asyncio.wait_for(writer.put(entry(1)), 5.0)
    assert len(world.records) == 1
    assert supervisor.pulses["records"].restarts == 1
    assert world.counted("records_lost") == 0


async def test_a_batch_in_hand_at_the_end_goes_to_disk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that hangs while the process ends is spooled once its loop has been cancelled."""
    spool = spool_of(world)
    writer, supervisor = recorder(world, spool), new_supervisor()

    async def hangs(_: Sequence[NewRecord]) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(world.log, "record", hangs)
    monkeypatch.setattr(writer, "_timeout_s", 30)
    async with supervisor.running({"records": writer.write_for_ever}):
        writer.put(entry(1))
        await asyncio.sleep(0.01)
        await writer.flush(0.01)
        assert spool.waiting == 0
    await writer.flush(0)
    assert spool.waiting == 1
    await writer.close()


async def test_wakes_are_few_and_none_is_needed(world: World) -> None:
    """Hundreds of records wake the learner at most every 100 ms."""
    writer = recorder(world, spool_of(world))
    async with running([writer.write_for_ever(Pulse()), writer.wake_for_ever(Pulse())]):
        for number in range(30):
            await writer.put(entry(number))
            await asyncio.sleep(0.005)
    assert 1 <= world.memory.wakes <= 5


async def test_waiting_records_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While neither Redis nor the disk answers, more records are lost and counted instead of filling the memory."""
    monkeypatch.setattr(record_writer, "MAX_WAITING", 3)
    writer = recorder(world, spool_of(world))
    futures = [writer.put(entry(number)) for number in range(5)]
    assert [future.done() for future in futures] == [False, False, False, True, True]
    assert world.counted("records_lost") == 2
    async with running([writer.write_for_ever(Pulse())]):
        assert await asyncio.gather(*futures) == [True, True, True, False, False]


async def test_every_record_on_disk_is_replayed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they are more than fit into one write."""
    monkeypatch.setattr(record_writer, "BATCH", 3)
    spool = spool_of(world)
    entries = [entry(number) for number in range(8)]
    spool.append(entries)
    await recorder(world, spool).replay()
    assert [record.id for record in world.records] == [each.record.id for each in entries]


async def test_a_gateway_catches_up_after_requests_that_redis_does_not_know(world: World) -> None:
    """Once their records are stored, and a moment has passed, an unknown id is denied again."""
    clock = FakeClock()
    queue = FakeEventQueue(world.memory)
    writer = RecordWriter(world.log, queue, spool_of(world), timeout_s=5.0, clock=clock, metrics=world.metrics)
    reserved, unreserved = entry(1), entry(2)
    writer.expect(unreserved.record.id)
    behind = [writer.behind]
    async with running([writer.write_for_ever(Pulse())]):
        await asyncio.gather(writer.put(reserved), writer.put(unreserved))
    behind.append(writer.behind)
    clock.advance(record_writer.BEHIND_S)
    assert [*behind, writer.behind] == [True, True, False]
