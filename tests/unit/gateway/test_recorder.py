"""Records: written in groups, spooled while Redis is away, never lost silently, never waited for in vain."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from services.gateway import background
from services.gateway.recorder import Recorder
from services.gateway.spool import SUFFIX, Spool, SpoolFull
from shared.bandit.decision import Decision, DecisionKind
from shared.clock import SystemClock
from shared.schemas.ids import uuid7
from shared.schemas.records import Outcome, RequestRecord, Status
from shared.schemas.storage import NewRecord
from tests.fakes.event_queue import FakeEventQueue
from tests.fakes.gateway import World


def entry(number: int = 0) -> NewRecord:
    own_id = uuid7(1_795_000_000.0 + number)
    outcome = Outcome(Status.ANSWERED, "a/small", 0.1, "upstream", 1, 2, 0.001, 0.5, None, streamed=False, attempts=())
    decision = Decision(DecisionKind.DEFAULT, ("a/small",), 1.0, 0.0, "because")
    record = RequestRecord(own_id, own_id, "public", 1_795_000_000.0, None, "fake", decision, outcome)
    return NewRecord(record, np.full(4, number, dtype=np.float32) if number else None)


def recorder(world: World, spool: Spool) -> Recorder:
    queue = FakeEventQueue(world.memory)
    return Recorder(world.log, queue, spool, timeout_s=0.5, clock=SystemClock(), metrics=world.metrics)


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
    async with background.running([writer.write_for_ever()]):
        await asyncio.gather(*(writer.put(entry(number)) for number in range(100)))
    assert sum(writes) == 100 == len(world.records)
    assert len(writes) <= 3


async def test_a_cancelled_request_neither_loses_its_record_nor_hangs_its_neighbours(world: World) -> None:
    """Whoever leaves while waiting for the write changes nothing for the others."""
    writer = recorder(world, spool_of(world))
    leaver, stayer = writer.put(entry(1)), writer.put(entry(2))
    leaver.cancel()
    async with background.running([writer.write_for_ever()]):
        await asyncio.wait_for(stayer, 2.0)
    assert len(world.records) == 2


async def test_away_redis_means_disk_and_its_return_means_redis(world: World) -> None:
    """Sent = recorded: what could not be stored is on disk, then stored once, with its vector."""
    spool = spool_of(world)
    writer = recorder(world, spool)
    entries = [entry(number) for number in range(5)]
    async with background.running([writer.write_for_ever()]):
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


async def test_what_neither_redis_nor_disk_takes_is_counted_as_lost_and_delays_nobody(world: World) -> None:
    """A full spool costs the record, loudly, never the answer."""
    writer = recorder(world, spool_of(world, max_bytes=10))
    world.memory.away = True
    async with background.running([writer.write_for_ever()]):
        await asyncio.wait_for(writer.put(entry()), 2.0)
    assert world.counted("records_lost") == 1


async def test_a_writer_that_breaks_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad batch stops neither its own requests nor the next batch."""
    writer = recorder(world, spool_of(world))

    async def broken(_: Sequence[NewRecord]) -> None:
        raise ZeroDivisionError

    async with background.running([writer.write_for_ever()]):
        monkeypatch.setattr(world.log, "record", broken)
        await asyncio.wait_for(writer.put(entry(1)), 2.0)
        monkeypatch.undo()
        await asyncio.wait_for(writer.put(entry(2)), 2.0)
    assert len(world.records) == 1
    assert world.counted("records_lost") == 1


async def test_wakes_are_few_and_none_is_needed(world: World) -> None:
    """Hundreds of records wake the learner at most every 100 ms."""
    writer = recorder(world, spool_of(world))
    async with background.running([writer.write_for_ever(), writer.wake_for_ever()]):
        for number in range(30):
            await writer.put(entry(number))
            await asyncio.sleep(0.005)
    assert 1 <= world.memory.wakes <= 5


def test_the_spool_survives_kill_9_and_a_torn_last_line(tmp_path: Path) -> None:
    """What was acknowledged is read by the next process, whatever the crash left behind it."""
    killed = Spool(tmp_path, max_bytes=1_000_000)
    killed.append([entry(1), entry(2)])
    (file,) = tmp_path.glob(f"*{SUFFIX}")
    with file.open("ab") as torn:
        torn.write(b'deadbeef {"record": {"id": "01')
    assert Spool(tmp_path, max_bytes=1).adopt() == 0, "a living process is not robbed"
    killed.close()  # as the kernel does with the locks of a killed process

    heir = Spool(tmp_path, max_bytes=1_000_000)
    assert heir.adopt() == 3
    segment = heir.next_segment()
    assert segment is not None
    assert [each.record.outcome.cost_usd for each in heir.read(segment)] == [0.1, 0.1]
    heir.done(segment)
    assert heir.next_segment() is None
    heir.close()


def test_the_spool_is_bounded_on_disk(tmp_path: Path) -> None:
    """SPOOL_MAX_BYTES holds; at the bound it refuses instead of growing."""
    spool = Spool(tmp_path, max_bytes=20_000)
    for _ in range(5):
        spool.append([entry(1)])
    size = spool.size
    with pytest.raises(SpoolFull):
        spool.append([entry(number) for number in range(50)])
    assert spool.size == size
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 20_000
    spool.close()


def test_a_folder_that_cannot_be_made_is_a_full_spool(tmp_path: Path) -> None:
    """A disk that refuses is the recorder's business, not the request's."""
    (tmp_path / "file").touch()
    with pytest.raises(SpoolFull):
        Spool(tmp_path / "file" / "spool", max_bytes=1_000_000).append([entry()])
