"""The history_writer on fakes: PostgreSQL away, full, refusing; and what is said when the history has a gap."""

from __future__ import annotations

from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from services.learner.writers.history_writer import HistoryWriter
from shared.bandit.kinds import no_kinds
from shared.metrics import LearnerMetrics
from tests.support.fakes.history import FakeHistory
from tests.support.fakes.kind_store import FakeKindStore
from tests.support.fakes.memory import Memory
from tests.support.fakes.outbox import FakeOutbox
from tests.support.fakes.request_log import FakeRequestLog
from tests.support.sample_records import a_new_record
from tests.support.values import replace


@dataclass
class World:
    """A history_writer and what it works between."""

    memory: Memory = field(default_factory=Memory)
    history: FakeHistory = field(default_factory=FakeHistory)
    metrics: LearnerMetrics = field(default_factory=lambda: LearnerMetrics(CollectorRegistry()))

    def __post_init__(self) -> None:
        self.log = FakeRequestLog(self.memory, history_bound=10_000)
        self.kinds = FakeKindStore(self.memory)
        self.history_writer = HistoryWriter(
            FakeOutbox(self.memory), self.history, self.kinds, "abc", {"X": 1},
            clock=self.memory.clock, metrics=self.metrics,
        )  # fmt: skip

    def counted(self, result: str) -> float:
        return float(self.metrics.history_rows.labels(result=result)._value.get())


async def test_what_waits_is_written_and_taken_out() -> None:
    """Tables first, then everything, then nothing more; the settings' meaning goes along."""
    world = World()
    entries = [a_new_record(world.memory.clock.now()) for _ in range(1200)]
    await world.log.record(entries)
    assert await world.history_writer.step() == 1200
    assert await world.history_writer.step() == 0
    assert set(world.history.requests) == {entry.record.id for entry in entries}
    assert (world.history.prepared, world.history.settings) == (1, {"abc": {"X": 1}})
    assert (world.memory.outbox, world.counted("written")) == ({}, 1200)


async def test_away_it_is_asked_less_and_less_and_nothing_is_lost() -> None:
    """It rests (the next test); what comes back may have lost its tables, so they are looked at again."""
    world = World()
    await world.log.record([a_new_record(world.memory.clock.now())])
    world.history.away = True
    for _ in range(8):
        assert await world.history_writer.step() == 0
        world.memory.clock.advance(5)
    world.history.away = False
    assert await world.history_writer.step() == 1
    assert world.history.prepared == 1
    world.history.away = True
    await world.log.record([a_new_record(world.memory.clock.now())])
    await world.history_writer.step()
    world.history.away = False
    world.memory.clock.advance(1)
    assert await world.history_writer.step() == 1
    assert world.history.prepared == 2


class Counting(FakeHistory):
    """Counts the attempts to reach it."""

    attempts = 0

    async def prepare(self) -> None:
        self.attempts += 1
        await super().prepare()


async def test_the_pauses_double_up_to_five_seconds_and_begin_anew() -> None:
    """A database that comes back is used again within five seconds, however long it was away."""
    history = Counting()
    world = World(history=history)

    async def pause_s() -> float:
        """Return the time until the next attempt, to half a second."""
        attempts, waited = history.attempts, 0.0
        while history.attempts == attempts:
            world.memory.clock.advance(0.5)
            waited += 0.5
            await world.history_writer.step()
        return waited

    for _ in range(2):
        await world.log.record([a_new_record(world.memory.clock.now())])
        history.away = True
        await world.history_writer.step()
        assert [await pause_s() for _ in range(5)] == [1, 2, 4, 5, 5]
        history.away = False
        world.memory.clock.advance(5)
        assert await world.history_writer.step() == 1


async def test_gaps_are_counted_and_hold_up_nobody() -> None:
    """A row that no table takes and a request that is gone leave the outbox like all others, as errors."""
    world = World()
    good, bad, gone = (a_new_record(world.memory.clock.now()) for _ in range(3))
    outcome = replace(bad.record.outcome, prompt_tokens=2**63)
    await world.log.record([good, replace(bad, record=replace(bad.record, outcome=outcome)), gone])
    (lost,) = [entry for entry in world.memory.outbox.values() if entry.request_id == gone.record.id]
    world.memory.outbox[lost.entry_id] = replace(lost, request=None)
    assert await world.history_writer.step() == 3
    assert [world.counted(result) for result in ("written", "refused", "lost")] == [1, 1, 1]
    assert world.memory.outbox == {}


async def test_only_a_failure_of_postgresql_is_reported_as_one() -> None:
    """/health shows the trouble as PostgreSQL's; Redis' own is shown elsewhere."""
    world = World()
    world.history.away = True
    await world.history_writer.step()
    assert world.history_writer.trouble
    world.history.away, world.memory.away = False, True
    world.memory.clock.advance(10)
    await world.history_writer.step()
    assert world.history_writer.trouble == ""


async def test_kinds_are_saved_now_and_then_if_they_have_changed() -> None:
    """Once in five minutes, and not again as long as no request is assigned."""
    world = World()
    saved = []
    for order in (1, 1, 2, 3, 3):
        world.memory.kinds = replace(no_kinds(4), order=order)
        for _ in range(3):
            await world.history_writer.step()
            world.memory.clock.advance(100.5)
        saved.append(sorted(world.history.snapshots))
        world.history.snapshots.clear()
    assert saved == [[1], [], [2], [3], []]


async def test_told_to_stop_it_finishes_the_batch_at_hand() -> None:
    """No new batch is begun."""
    world = World()
    await world.log.record([a_new_record(world.memory.clock.now())])
    world.history_writer.stopping = True
    assert await world.history_writer.step() == 0
    assert len(world.memory.outbox) == 1
