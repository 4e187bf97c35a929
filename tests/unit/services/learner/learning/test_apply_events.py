"""What becomes of events: applied once, left for later, or buried with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry

from services.learner.learning.apply_events import BATCH, EventLearner, RedeliveryPolicy
from services.learner.learning.effects import effect_of
from shared.bandit.stored_sums import parse_sums
from shared.bandit.sums import Sums, by_arm
from shared.errors import CorruptState, DependencyError
from shared.metrics import LearnerMetrics
from shared.schemas.events import EVENT_VERSION, Event, EventKind
from shared.schemas.records import Attempt, Lesson, Status
from shared.schemas.storage import Applied, Assignment, Effect, LoggedRequest
from tests.support.assigning import a_kind_assigner
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.event_queue import FakeEventQueue
from tests.support.fakes.kind_store import FakeKindStore
from tests.support.fakes.memory import Memory
from tests.support.fakes.posterior_store import FakePosteriorStore
from tests.support.fakes.request_log import FakeRequestLog
from tests.support.sample_records import ARM, a_new_record, a_record
from tests.support.values import replace

PATIENCE = RedeliveryPolicy()


@dataclass
class World:
    memory: Memory
    log: FakeRequestLog
    posteriors: FakePosteriorStore
    queue: FakeEventQueue
    learner: EventLearner
    registry: CollectorRegistry

    @property
    def clock(self) -> FakeClock:
        return self.memory.clock

    def counted(self, kind: str, result: str) -> float:
        labels = {"kind": kind, "result": result}
        return self.registry.get_sample_value("llm_router_events_total", labels) or 0.0

    async def sums(self) -> Sums:
        return (await self.posteriors.load()).arms[ARM].total


@pytest.fixture
def world() -> World:
    memory, registry = Memory(), CollectorRegistry()
    log, posteriors, queue = FakeRequestLog(memory), FakePosteriorStore(memory), FakeEventQueue(memory)
    learner = EventLearner(
        "me",
        queue=queue,
        log=log,
        posteriors=posteriors,
        kinds=a_kind_assigner(FakeKindStore(memory), log, memory.clock),
        clock=memory.clock,
        metrics=LearnerMetrics(registry),
        redelivery=PATIENCE,
    )
    return World(memory, log, posteriors, queue, learner, registry)


async def rated(world: World, number: int, score: float = 0.5) -> None:
    entries = [a_new_record(world.clock.now()) for _ in range(number)]
    await world.log.record(entries)
    for entry in entries:
        await world.log.rate(owner="public", public_id=entry.record.id, score=score, text=None, now=world.clock.now())


async def test_a_backlog_is_drained_in_batches(world: World) -> None:
    """Every outcome and every rating is in the sums, and nothing is left."""
    await rated(world, BATCH)
    assert await world.learner.drain() == 2 * BATCH
    assert (await world.queue.depth()).waiting == 0
    sums = await world.sums()
    assert (sums.requests, sums.labels, sums.score) == (BATCH, BATCH, BATCH * 0.5)
    assert world.counted("feedback", "applied") == BATCH


async def test_what_a_failure_interrupts_is_finished_without_waiting(world: World) -> None:
    """Redis goes away in the middle of a batch: the next drain starts with that batch, not after the idle time."""
    await rated(world, 3)
    apply = world.posteriors.apply

    async def breaks(effects: Sequence[Effect]) -> list[Applied]:
        await apply(effects[:2])
        raise DependencyError("redis", "gone")

    world.posteriors.apply = breaks  # type: ignore[method-assign]  # the failure under test
    with pytest.raises(DependencyError):
        await world.learner.drain()
    world.posteriors.apply = apply  # type: ignore[method-assign]
    assert await world.learner.drain() == 6
    sums = await world.sums()
    assert (sums.requests, sums.labels) == (3, 3)


async def test_what_another_learner_left_is_taken_over(world: World) -> None:
    """Not before the idle time, in case it lives; after it, once."""
    await rated(world, 2)
    await world.queue.read("dead", 100)
    assert await world.learner.drain() == 0
    assert await world.learner.sweep() == 0
    world.clock.advance(PATIENCE.idle_s)
    assert await world.learner.sweep() == 4
    assert (await world.sums()).labels == 2


async def test_a_poison_event_is_buried_and_stalls_nobody(world: World) -> None:
    """Its neighbours are applied at once; it is tried five times, then it is a dead letter with its reason."""
    await rated(world, 1)
    own_id = next(iter(world.memory.stories))
    world.memory.add(Event("", EventKind.FEEDBACK, own_id, 2, score=float("nan")))
    await world.learner.drain()
    assert (await world.sums()).labels == 1
    for _ in range(PATIENCE.deliveries - 1):
        assert (await world.queue.depth()).waiting == 1
        world.clock.advance(PATIENCE.idle_s)
        await world.learner.sweep()
    (letter,) = await world.queue.dead(10)
    assert letter.event.request_id == own_id
    assert "score" in letter.reason
    assert (await world.queue.depth()).waiting == 0
    assert world.counted("feedback", "buried") == 1


async def test_a_contribution_that_readers_would_refuse_never_gets_in(world: World) -> None:
    """One absurd record must not make the whole learned state unreadable."""
    await world.log.record([a_new_record(world.clock.now(), cost_usd=20_000.0), a_new_record(world.clock.now())])
    await world.learner.drain()
    assert (await world.sums()).requests == 1
    assert (await world.queue.depth()).waiting == 1


async def test_a_rating_waits_for_its_record(world: World) -> None:
    """The record may still be in a gateway's spool: the event is no poison, and counts once when the record comes."""
    entry = a_new_record(world.clock.now(), public_id="x")
    await world.log.reserve(owner="public", public_id="x", own_id=entry.record.id)
    await world.log.rate(owner="public", public_id="x", score=1, text=None, now=world.clock.now())
    await world.learner.drain()
    for _ in range(3 * PATIENCE.deliveries):
        world.clock.advance(PATIENCE.idle_s)
        await world.learner.sweep()
    assert (await world.queue.depth()).waiting == 1
    await world.log.record([entry])
    await world.learner.drain()
    assert await world.sums() == replace(await world.sums(), labels=1, score=1)
    world.clock.advance(PATIENCE.idle_s)
    await world.learner.sweep()
    assert (await world.sums()).labels == 1
    assert (await world.queue.depth()).waiting == 0


async def test_a_rating_whose_record_never_comes_is_buried_in_the_end(world: World) -> None:
    """Acknowledged to the client, it ends as a dead letter, never as nothing."""
    await world.log.reserve(owner="public", public_id="x", own_id="0189aaaa-0000-7000-8000-000000000000")
    await world.log.rate(owner="public", public_id="x", score=1, text=None, now=world.clock.now())
    await world.learner.drain()
    world.clock.advance(PATIENCE.missing_s + 1)
    await world.learner.sweep()
    (letter,) = await world.queue.dead(10)
    assert "record" in letter.reason


async def test_an_event_of_a_newer_version_is_left_for_a_newer_learner(world: World) -> None:
    """Not poison however often it comes by; buried only after a week."""
    world.memory.add(Event("", EventKind.UNKNOWN, "some request", 0, version=EVENT_VERSION + 1))
    await world.learner.drain()
    for _ in range(3 * PATIENCE.deliveries):
        world.clock.advance(PATIENCE.idle_s)
        await world.learner.sweep()
    assert (await world.queue.depth()).waiting == 1
    world.clock.advance(PATIENCE.foreign_s)
    await world.learner.sweep()
    (letter,) = await world.queue.dead(10)
    assert "version" in letter.reason


async def test_a_damaged_event_of_our_version_is_poison(world: World) -> None:
    """Nobody will ever understand it better."""
    world.memory.add(Event("", EventKind.UNKNOWN, "", 0))
    await world.learner.drain()
    for _ in range(PATIENCE.deliveries):
        world.clock.advance(PATIENCE.idle_s)
        await world.learner.sweep()
    assert len(await world.queue.dead(10)) == 1


async def test_stopping_finishes_the_batch_and_begins_no_other(world: World) -> None:
    """SIGTERM leaves nothing half done."""
    await rated(world, BATCH)
    apply = world.posteriors.apply

    async def stops(effects: Sequence[Effect]) -> list[Applied]:
        world.learner.stopping = True
        return await apply(effects)

    world.posteriors.apply = stops  # type: ignore[method-assign]  # the signal under test
    assert await world.learner.drain() == BATCH
    assert (await world.queue.depth()).waiting == BATCH


def outcome(status: Status, **changes: object) -> dict[str, int]:
    record = a_record(1e9, status=status, cluster=(1, 7))  # what the decision took for its kind
    record = replace(record, outcome=replace(record.outcome, **changes))
    event = Event("1-1", EventKind.OUTCOME, record.id, 1)
    return dict(effect_of(event, LoggedRequest(Lesson.of(record), None, None, 0, Assignment((1, 2), 5))).sums)


def test_only_answers_teach_cost_and_latency() -> None:
    """A failed or truncated call counts against its arm; a client that went away, and its own bad request, do not."""
    left = (Attempt(ARM, "cancelled", 0.1, spent=True),)
    answered = outcome(Status.ANSWERED)
    assert answered["requests"] == 1
    assert answered["latency_us@1.2"] == answered["latency_us"] == 1_250_000
    assert outcome(Status.FAILED) == outcome(Status.TRUNCATED) == {"failures": 1}
    assert outcome(Status.CANCELLED, attempts=left) == {}
    assert outcome(Status.FAILED, attempts=()) == {}
    for word in ("status_400", "status_413", "status_422", "status_401", "status_402", "status_403", "internal"):
        assert outcome(Status.FAILED, attempts=(Attempt(ARM, word, 0.1, spent=False),)) == {}


def test_each_failure_is_learned_of_the_arm_that_failed() -> None:
    """An answer by the third arm is the third arm's, and the two failures before it are those arms' own."""
    tried = (
        Attempt("x/first", "status_503", 0.1, spent=False),
        Attempt("x/second", "status_400", 0.1, spent=False),
        Attempt("x/first", "timeout", 0.1, spent=True),
        Attempt(ARM, None, 1.0, spent=True),
    )
    sums = by_arm(ARM, outcome(Status.ANSWERED, attempts=tried))
    assert sums["x/first"] == {"failures": 2}
    assert sums[ARM]["requests"] == 1
    assert "failures" not in sums[ARM]
    assert "x/second" not in sums
    assert outcome(Status.CANCELLED, attempts=tried[:1]) == {"failures|x/first": 1}


def test_an_answer_of_unknown_cost_teaches_latency_alone() -> None:
    """Zero with the source `unknown` is no price."""
    sums = outcome(Status.ANSWERED, cost_usd=0.0, cost_source="unknown")
    assert sums["unpriced"] == sums["requests"] == sums["unpriced@1.2"] == 1
    assert "cost_nanousd" not in sums
    assert "unpriced" not in outcome(Status.ANSWERED, cost_usd=0.0, cost_source="price")


def test_a_rating_is_credited_to_the_arm_that_answered() -> None:
    """With the neighbours' gain as it was believed of that arm, and inside what readers accept."""
    record = a_record(1e9, local_shift=0.2)
    event = Event("1-1", EventKind.FEEDBACK, record.id, 1, score=0.9)
    effect = effect_of(event, LoggedRequest(Lesson.of(record), None, 0.9, 1))
    assert (effect.arm, effect.created_at) == (record.outcome.arm, record.created_at)
    sums = parse_sums({name: str(value) for name, value in effect.sums.items()})
    assert sums["score_micro"] == 900_000
    assert sums["local_gain_micro"] == 40_000, "0.9 is 0.2 from 0.7, and 0 from 0.7 + 0.2"


@pytest.mark.parametrize("score", [None, -0.1, 1.1, float("nan"), float("inf")])
def test_a_score_out_of_range_is_no_effect(score: float | None) -> None:
    """Whatever got into the stream, it does not get into the sums."""
    record = a_record(1e9)
    with pytest.raises(ValueError, match="score"):
        effect_of(
            Event("1-1", EventKind.FEEDBACK, record.id, 1, score=score), LoggedRequest(Lesson.of(record), None, None, 0)
        )


@pytest.mark.parametrize("cost", [float("nan"), float("inf"), -1.0, 1e9])
def test_an_impossible_cost_is_no_effect(cost: float) -> None:
    """The record's figures are input."""
    record = a_record(1e9, cost_usd=cost)
    with pytest.raises((CorruptState, ValueError, OverflowError)):
        effect_of(Event("1-1", EventKind.OUTCOME, record.id, 1), LoggedRequest(Lesson.of(record), None, None, 0))
