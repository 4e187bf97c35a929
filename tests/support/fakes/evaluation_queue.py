"""`EvaluationQueue` in memory."""

from __future__ import annotations

import math

from shared.bandit.sums import NANO
from shared.clock import utc_day
from shared.errors import DependencyError
from shared.schemas.evaluation import Evaluation, EvaluationDepth, EvaluationTask, QueuedEvaluation, Submitted
from shared.schemas.events import EVENT_VERSION, FORGOTTEN_REVISION, Event, EventKind
from shared.schemas.history import Waiting
from tests.support.fakes.memory import Memory, QueuedTask

CONTENT_TTL_S = 3600


class FakeEvaluationQueue:
    """The contract, without Redis."""

    def __init__(self, memory: Memory | None = None, *, history_bound: int = 0) -> None:
        self.memory = memory or Memory()
        self._history_bound = history_bound
        self._seen: dict[str, float] = {}

    async def prepare(self) -> None:
        self._here()

    async def submit(self, task: EvaluationTask, *, budget_nano_usd: int, most_waiting: int) -> Submitted:
        self._here()
        memory, now = self.memory, self.memory.clock.now()
        story = memory.stories.get(task.request_id)
        known = any(each.task.request_id == task.request_id and self._fresh(each) for each in memory.tasks.values())
        if known or (story is not None and story.evaluation is not None):
            return Submitted.SUBMITTED
        if len(memory.tasks) >= most_waiting:
            return Submitted.QUEUE_FULL
        if memory.evaluation_spent[task.day] + task.reserved_nano_usd > budget_nano_usd:
            return Submitted.OVER_BUDGET
        memory.evaluation_spent[task.day] += task.reserved_nano_usd
        memory.last_entry += 1
        memory.tasks[f"{round(now * 1000)}-{memory.last_entry}"] = QueuedTask(task, now)
        return Submitted.SUBMITTED

    async def read(self, consumer: str, limit: int) -> list[QueuedEvaluation]:
        self._here()
        self._seen[consumer] = self.memory.clock.now()
        fresh = [entry_id for entry_id, each in self.memory.tasks.items() if each.consumer is None]
        return [self._deliver(entry_id, consumer) for entry_id in fresh[:limit]]

    async def claim(self, consumer: str, *, idle_s: float, limit: int) -> list[QueuedEvaluation]:
        self._here()
        until = self.memory.clock.now() - idle_s
        idle = [entry_id for entry_id, each in self.memory.tasks.items() if each.delivered_at <= until]
        if idle:
            self._seen[consumer] = self.memory.clock.now()
        return [self._deliver(entry_id, consumer) for entry_id in idle[:limit]]

    def _deliver(self, entry_id: str, consumer: str) -> QueuedEvaluation:
        queued = self.memory.tasks[entry_id]
        queued.consumer, queued.delivered_at = consumer, self.memory.clock.now()
        queued.deliveries += 1
        content = EvaluationTask.from_json(queued.task.to_json()) if self._fresh(queued) else None
        return QueuedEvaluation(entry_id, queued.task.request_id, queued.deliveries, content)

    def _fresh(self, queued: QueuedTask) -> bool:
        return self.memory.clock.now() - queued.submitted_at < CONTENT_TTL_S

    async def keep(self, consumer: str, queued: QueuedEvaluation) -> None:
        self._here()
        held = self.memory.tasks.get(queued.entry_id)
        if held is not None and held.consumer == consumer:
            held.delivered_at = self.memory.clock.now()

    async def finish(self, queued: QueuedEvaluation, result: Evaluation | None) -> bool:
        self._here()
        memory = self.memory
        done = memory.tasks.pop(queued.entry_id, None)
        if done is None or result is None:
            return False
        if done.task.day in memory.evaluation_spent:
            beyond = round(result.spent_usd * NANO) - done.task.reserved_nano_usd
            memory.evaluation_spent[done.task.day] += beyond if result.all_costs_known else max(beyond, 0)
        story = memory.stories.get(queued.request_id)
        if story is None or story.record is None or story.evaluation is not None:
            return False
        if story.ledger.get(EventKind.OUTCOME, (0, {}))[0] >= FORGOTTEN_REVISION:
            return False
        story.evaluation = result
        memory.remember(self._history_bound, Waiting("", queued.request_id, evaluation=result))
        memory.add(Event("", EventKind.EVALUATION, queued.request_id, 1, EVENT_VERSION))
        return True

    async def forget_consumers(self, idle_s: float) -> int:
        self._here()
        holding = {each.consumer for each in self.memory.tasks.values()}
        until = self.memory.clock.now() - idle_s
        gone = [name for name, at in self._seen.items() if name not in holding and at <= until]
        for name in gone:
            del self._seen[name]
        return len(gone)

    async def depth(self) -> EvaluationDepth:
        self._here()
        first = min((each.submitted_at for each in self.memory.tasks.values()), default=math.inf)
        return EvaluationDepth(len(self.memory.tasks), max(self.memory.clock.now() - first, 0.0))

    async def spent_usd(self, now: float) -> float:
        self._here()
        return self.memory.evaluation_spent.get(utc_day(now), 0) / NANO

    def _here(self) -> None:
        if self.memory.away:
            raise DependencyError("redis", "away")
