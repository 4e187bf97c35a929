"""Worker loop of evaluations: takes tasks from the queue, a bounded number at a time, and hands their results in.

A task stays in the queue until it is finished. One whose learner died is claimed by another, which asks all models
again; one that keeps failing is given up.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import KW_ONLY, dataclass, field

from services.learner.evaluating.evaluator import Evaluator
from shared.errors import DependencyError, RouterError
from shared.evaluation_queue import EvaluationQueue
from shared.logs import get_logger
from shared.metrics import LearnerMetrics
from shared.ports import Clock, Heartbeats
from shared.resilience.supervision import Pulse
from shared.schemas.evaluation import Evaluation, EvaluationTask, QueuedEvaluation

MOST_IN_WORK = 16
"""Evaluations of one learner at the same time; each calls a few models, and then the judge."""
POLL_S = 0.5
LOOK_S = 2.0
"""Pause between looks at abandoned tasks, at the queue's depth, and at the circuits of the gateways."""

KEEP_S, IDLE_S = 10.0, 45.0
"""A task in work is confirmed this often; one that was not for `IDLE_S` is abandoned."""
MOST_DELIVERIES = 3
"""A task that was delivered more often has failed each time, or has killed its learners."""
GONE_S = 86_400.0
"""A consumer that was idle for so long was a learner that has ended: each process has a new name."""

HAND_IN_TRIES, HAND_IN_PAUSE_S = 6, 0.5
"""Attempts to hand in a result, with pauses that double: its answers are paid."""

_log = get_logger(__name__)


@dataclass(eq=False)
class EvaluationWorker:
    """Takes tasks as `consumer`. `heartbeats`: there the gateways say which circuits are open."""

    queue: EvaluationQueue
    evaluator: Evaluator
    heartbeats: Heartbeats
    _: KW_ONLY
    consumer: str
    clock: Clock
    metrics: LearnerMetrics
    _in_work: set[asyncio.Task[None]] = field(default_factory=set)
    _prepared: bool = False
    _redis_away: bool = False
    _look_at: float = -math.inf

    async def run(self, pulse: Pulse) -> None:
        """Work until cancelled; tasks in work are abandoned then."""
        try:
            while True:
                pulse.begin()
                try:
                    await self.step()
                    self._redis_away = False
                except DependencyError as error:
                    if not self._redis_away:
                        _log.warning("evaluations wait", reason=str(error))
                    self._redis_away = True
                pulse.end()
                await asyncio.sleep(POLL_S)
        finally:
            while self._in_work:
                for task in self._in_work:
                    task.cancel()  # repeatedly: `asyncio.wait_for` of Python 3.11 may swallow it
                await asyncio.wait(self._in_work, timeout=0.1)

    async def step(self) -> None:
        """Start as many tasks as there is room for. Raises DependencyError."""
        if not self._prepared:
            await self.queue.prepare()
            await self.queue.forget_consumers(GONE_S)
            self._prepared = True
        due: list[QueuedEvaluation] = []
        room = MOST_IN_WORK - len(self._in_work)
        if self.clock.monotonic() >= self._look_at:
            self._look_at = self.clock.monotonic() + LOOK_S
            await self._look()
            due = await self.queue.claim(self.consumer, idle_s=IDLE_S, limit=room) if room else []
        room -= len(due)
        if room and not await self.evaluator.cooldown_s():
            due += await self.queue.read(self.consumer, room)
        for queued in due:
            task = asyncio.create_task(self._finish(queued), name="evaluation")
            self._in_work.add(task)
            task.add_done_callback(self._in_work.discard)

    async def _look(self) -> None:
        depth = await self.queue.depth()
        self.metrics.evaluations_waiting.set(depth.waiting)
        self.metrics.evaluation_age.set(depth.age_s)
        notices = await self.heartbeats.exchange(self.consumer, None, LOOK_S)
        self.evaluator.caller.circuits.merge({name: notice.rests for name, notice in notices.items()})

    async def _finish(self, queued: QueuedEvaluation) -> None:
        """Evaluate one task, and hand in its result; a task that cannot be evaluated is given up."""
        try:
            if queued.task is None:
                await self._hand_in(queued, None, "expired")
            elif queued.deliveries > MOST_DELIVERIES:
                _log.warning("evaluation given up", request_id=queued.request_id, deliveries=queued.deliveries)
                await self._hand_in(queued, None, "given_up")
            else:
                began = self.clock.monotonic()
                result = await self._kept(queued, queued.task)
                self.metrics.evaluation_seconds.observe(self.clock.monotonic() - began)
                self._count(result)
                await self._hand_in(queued, result, "no_verdict" if result.error else "scored")
        except Exception as error:  # noqa: BLE001 - the edge of a task: it is delivered again
            self.metrics.evaluations.labels("failed").inc()
            # Only errors raised on purpose are free of content: others may quote a prompt.
            reason = str(error) if isinstance(error, RouterError) else None
            _log.warning("evaluation failed", error=type(error).__name__, reason=reason)

    async def _kept(self, queued: QueuedEvaluation, task: EvaluationTask) -> Evaluation:
        """Evaluate, and confirm meanwhile that the task is in work."""
        keeping = asyncio.create_task(self._keep(queued))
        try:
            return await self.evaluator.evaluate(task)
        finally:
            keeping.cancel()

    async def _keep(self, queued: QueuedEvaluation) -> None:
        while True:
            await asyncio.sleep(KEEP_S)
            try:
                await self.queue.keep(self.consumer, queued)
            except DependencyError as error:
                _log.warning("a task in work could not be confirmed", reason=str(error))

    async def _hand_in(self, queued: QueuedEvaluation, result: Evaluation | None, label: str) -> None:
        for attempt in range(1, HAND_IN_TRIES + 1):
            try:
                applied = await self.queue.finish(queued, result)
            except DependencyError:
                if attempt == HAND_IN_TRIES:
                    raise
                await asyncio.sleep(HAND_IN_PAUSE_S * 2 ** (attempt - 1))
            else:
                self.metrics.evaluations.labels(label if applied or result is None else "discarded").inc()
                return

    def _count(self, result: Evaluation) -> None:
        shadows = [one for one in result.candidates if not one.served]
        self.metrics.evaluation_cost.labels("judge").inc(result.judge_cost_usd or 0.0)
        self.metrics.evaluation_cost.labels("model").inc(sum(one.cost_usd or 0.0 for one in shadows))
        for error in (one.error for one in shadows if one.error is not None):
            self.metrics.evaluation_errors.labels("model", error).inc()
        if result.error is not None:
            self.metrics.evaluation_errors.labels("judge", result.error).inc()
