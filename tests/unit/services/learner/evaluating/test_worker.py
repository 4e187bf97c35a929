"""The worker: bounded work, tasks that die with their learner, poison, and Redis away."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from services.learner.evaluating import evaluator as evaluator_module
from services.learner.evaluating import worker as worker_module
from services.learner.evaluating.worker import IDLE_S, LOOK_S, MOST_DELIVERIES, MOST_IN_WORK, EvaluationWorker
from shared.errors import UpstreamError
from shared.metrics import LearnerMetrics
from shared.resilience.supervision import Pulse
from shared.schemas.evaluation import Evaluation
from shared.schemas.storage import Notice
from tests.support.fakes.chat_model import Reply
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.evaluation_queue import FakeEvaluationQueue
from tests.support.fakes.heartbeats import FakeHeartbeats
from tests.support.fakes.judge import JUDGE, JudgingChatModel
from tests.support.fakes.memory import Memory
from tests.support.fakes.request_log import FakeRequestLog
from tests.support.sample_records import a_new_record
from tests.unit.services.learner.evaluating.conftest import MakeEvaluator, a_task

SCORES = {"It is 42.": 1.0, "41": 0.1}


@dataclass
class Rig:
    """A queue, an upstream, and any number of workers."""

    evaluator: MakeEvaluator
    clock: FakeClock
    chat: JudgingChatModel = field(default_factory=lambda: JudgingChatModel(SCORES, default=Reply("41")))
    metrics: LearnerMetrics = field(default_factory=lambda: LearnerMetrics(CollectorRegistry()))

    def __post_init__(self) -> None:
        self.memory = Memory(clock=self.clock)
        self.queue = FakeEvaluationQueue(self.memory)
        self.heartbeats = FakeHeartbeats(self.memory)

    def worker(self, name: str = "learner-1") -> EvaluationWorker:
        return EvaluationWorker(
            self.queue, self.evaluator(self.chat), self.heartbeats,
            consumer=name, clock=self.clock, metrics=self.metrics,
        )  # fmt: skip

    async def submit(self, number: int = 1, *arms: str) -> list[str]:
        entries = [a_new_record(self.clock.now()) for _ in range(number)]
        await FakeRequestLog(self.memory).record(entries)
        for entry in entries:
            task = a_task(*(arms or ("a",)), request_id=entry.record.id)
            await self.queue.submit(task, budget_nano_usd=10**12, most_waiting=10**6)
        return [entry.record.id for entry in entries]

    @property
    def results(self) -> list[Evaluation]:
        return [story.evaluation for story in self.memory.stories.values() if story.evaluation is not None]

    def counted(self, result: str) -> float:
        return float(self.metrics.evaluations.labels(result)._value.get())


@pytest.fixture
def rig(evaluator: MakeEvaluator, clock: FakeClock) -> Rig:
    return Rig(evaluator, clock)


async def finished(worker: EvaluationWorker) -> None:
    """Wait for the tasks in work."""
    while worker._in_work:
        await asyncio.wait(worker._in_work)


async def work(worker: EvaluationWorker) -> None:
    await worker.step()
    await finished(worker)


async def test_each_task_is_finished_with_its_result(rig: Rig) -> None:
    """And counted, with what it cost; the queue is empty then."""
    await rig.submit(3)
    worker = rig.worker()
    await work(worker)
    assert [result.candidates[1].score for result in rig.results] == [0.1] * 3
    assert (await rig.queue.depth()).waiting == 0
    assert rig.counted("scored") == 3
    cost = {role: rig.metrics.evaluation_cost.labels(role)._value.get() for role in ("judge", "model")}
    assert cost == {"judge": pytest.approx(3 * 0.00021), "model": pytest.approx(3 * 0.00021)}


async def test_only_so_many_are_in_work(rig: Rig) -> None:
    """The others wait in the queue, where other learners find them."""
    rig.chat.default = Reply("41", delay_s=0.02)
    await rig.submit(MOST_IN_WORK + 5)
    first, second = rig.worker(), rig.worker("learner-2")
    await first.step()
    await first.step()
    assert len(await rig.queue.read("test", 100)) == 5
    await finished(first)
    await work(second)
    assert len(rig.results) == MOST_IN_WORK


async def test_a_task_of_a_dead_learner_is_taken_over(rig: Rig) -> None:
    """Not before it was silent for long; a task in work is confirmed."""
    await rig.submit()
    await rig.queue.read("dead", 1)
    worker = rig.worker()
    await work(worker)
    assert rig.results == []
    rig.clock.advance(IDLE_S)
    await work(worker)
    assert len(rig.results) == 1


async def test_a_task_in_work_is_confirmed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a slow model is not asked by two learners."""
    monkeypatch.setattr(worker_module, "KEEP_S", 0.01)
    rig.chat.default = Reply("41", delay_s=0.1)
    await rig.submit()
    worker = rig.worker()
    await worker.step()
    for _ in range(3):
        rig.clock.advance(IDLE_S - 1.0)
        await asyncio.sleep(0.03)
        assert await rig.queue.claim("learner-2", idle_s=IDLE_S, limit=1) == []
    await finished(worker)
    assert len(rig.results) == 1


async def test_poison_is_given_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that fails each time is not delivered for ever; no model is asked in the end."""
    worker = rig.worker()
    monkeypatch.setattr(worker.evaluator.rng, "shuffle", lambda _: 1 / 0)
    await rig.submit()
    for _ in range(MOST_DELIVERIES):
        await work(worker)
        assert rig.results == []
        rig.clock.advance(IDLE_S)
    asked = len(rig.chat.calls)
    await work(worker)
    assert rig.results == []
    assert (await rig.queue.depth()).waiting == 0
    assert (rig.counted("failed"), rig.counted("given_up")) == (MOST_DELIVERIES, 1)
    assert len(rig.chat.calls) == asked == MOST_DELIVERIES


async def test_a_task_whose_content_has_expired_is_dropped(rig: Rig) -> None:
    """Prompts are kept for an hour only."""
    await rig.submit()
    rig.clock.advance(3600.0)
    await work(rig.worker())
    assert (await rig.queue.depth()).waiting == 0
    assert rig.counted("expired") == 1
    assert rig.chat.calls == []


async def test_a_result_outlives_a_short_absence_of_redis(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers are paid; nothing is asked again."""
    monkeypatch.setattr(worker_module, "HAND_IN_PAUSE_S", 0.02)
    rig.chat.default = Reply("41", delay_s=0.02)
    await rig.submit()
    worker = rig.worker()
    await worker.step()
    rig.memory.away = True
    await asyncio.sleep(0.1)
    assert rig.results == []
    rig.memory.away = False
    await finished(worker)
    assert rig.counted("scored") == 1
    assert len(rig.chat.calls) == 2


async def test_redis_away_ends_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop goes on when Redis is back; when it is cancelled, so are the tasks in work."""
    monkeypatch.setattr(worker_module, "POLL_S", 0.005)
    rig.memory.away = True
    running = asyncio.create_task(rig.worker().run(Pulse()))
    await asyncio.sleep(0.03)
    assert not running.done()
    rig.memory.away = False
    rig.chat.default = Reply("41", delay_s=30.0)
    await rig.submit()
    await asyncio.sleep(0.05)
    assert len(rig.chat.calls) == 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert rig.chat.cancelled == 1
    assert (await rig.queue.depth()).waiting == 1


async def test_no_task_is_taken_while_the_judge_cools_down(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers could not be scored: no other model is asked in vain."""
    monkeypatch.setattr(evaluator_module, "JUDGE_WAIT_S", 0.0)
    rig.chat.tell(JUDGE, Reply(error=UpstreamError("busy", status=400, cool_s=30.0)))
    await rig.submit()
    worker = rig.worker()
    await work(worker)
    assert [result.error for result in rig.results] == ["cooling"]
    calls = len(rig.chat.calls)
    await rig.submit()
    await work(worker)
    assert len(rig.chat.calls) == calls
    rig.clock.advance(31.0)
    await work(worker)
    assert [result.error for result in rig.results] == ["cooling", None]


async def test_a_circuit_that_a_gateway_has_opened_is_open_here(rig: Rig) -> None:
    """Users' requests do not reach that model now, and an evaluation must not either."""
    await rig.heartbeats.exchange("gateway-1", Notice({"a": 20.0}), 60.0)
    await rig.submit(1, "a", "b")
    worker = rig.worker()
    await work(worker)
    assert [one.error for one in rig.results[0].candidates] == [None, "cooling", None]


async def test_the_depth_of_the_queue_is_measured(rig: Rig) -> None:
    """An alert watches the age of the oldest task."""
    await rig.submit(2)
    await rig.queue.read("other", 2)
    rig.clock.advance(LOOK_S + 5.0)
    await rig.worker().step()
    assert rig.metrics.evaluations_waiting._value.get() == 2
    assert rig.metrics.evaluation_age._value.get() == LOOK_S + 5.0
