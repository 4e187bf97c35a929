"""Submitter of evaluations: makes tasks of answered requests and puts them into the queue, beside the answers' path.

At most `MAX_WAITING` requests wait here; more are skipped and counted. While the budget is spent, the queue is full or
Redis is away, no evaluation is planned for a moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from services.gateway.evaluation.judge import Judge
from services.gateway.evaluation.reservation import reservation
from services.gateway.evaluation.results import Result
from services.gateway.limits.quotas import largest_answer, prompt_tokens
from services.gateway.models.catalogue import Catalogue
from shared.bandit.arms import Price
from shared.bandit.racing import EvaluationPlan
from shared.bandit.sums import NANO
from shared.clock import utc_day
from shared.errors import DependencyError
from shared.evaluation_queue import EvaluationQueue
from shared.logs import get_logger
from shared.metrics import GatewayMetrics
from shared.ports import Clock
from shared.resilience.supervision import Pulse
from shared.schemas.answer_parts import AnswerChoice
from shared.schemas.answer_text import answer_text
from shared.schemas.evaluation import EvaluationDepth, EvaluationTask, Submitted
from shared.schemas.records import Outcome

MAX_WAITING = 32
REFRESH_S, REFRESH_TIMEOUT_S = 2.0, 2.0
SPENT_PAUSE_S, PAUSE_S = 10.0, 1.0
"""Pause of planning while the budget is spent, and for other reasons."""

_LEFT_OUT = frozenset(
    {
        "stream", "stream_options", "n", "service_tier", "store",
        "user", "metadata", "session_id", "safety_identifier", "prompt_cache_key",
    }
)  # fmt: skip
"""Fields that do not change an answer: its delivery, number, storage and speed, and its user."""

_log = get_logger(__name__)


class Answered(Struct, frozen=True, eq=False):
    """An answered request whose evaluation was drawn; `stored` is done when its record is in Redis (True) or not."""

    plan: EvaluationPlan
    request_id: str
    owner: str
    body: Mapping[str, object]
    choices: Sequence[AnswerChoice]
    outcome: Outcome
    stored: asyncio.Future[bool]


@dataclass(eq=False, repr=False)
class EvaluationSubmitter:
    """Submits tasks, one at a time.

    Attributes:
        budget_nano_usd, most_waiting: bounds of all gateways together.
        timeout_s: deadline of Redis.
    """

    queue: EvaluationQueue
    _: KW_ONLY
    judge: Judge
    catalogue: Catalogue
    clock: Clock
    metrics: GatewayMetrics
    budget_nano_usd: int
    most_waiting: int
    timeout_s: float
    _waiting: asyncio.Queue[Answered] = field(init=False, default_factory=lambda: asyncio.Queue(MAX_WAITING))
    _paused_by: Result | None = field(init=False, default=None)
    _spent_usd: float = field(init=False, default=0.0)
    _depth: EvaluationDepth = field(init=False, default=EvaluationDepth(0, 0.0))
    _paused_until: float = field(init=False, default=float("-inf"))

    @property
    def paused(self) -> Result | None:
        """Return why nothing should be planned now, or None."""
        return self._paused_by if self.clock.monotonic() < self._paused_until else None

    def offer(self, answered: Answered) -> None:
        """Take a request to submit; never waits."""
        try:
            self._waiting.put_nowait(answered)
        except asyncio.QueueFull:
            self._count(Result.BUSY)

    async def submit_for_ever(self, pulse: Pulse) -> None:
        """Submit what is offered; runs as a background loop."""
        while True:
            answered = await self._waiting.get()
            pulse.begin()
            try:
                self._count(await self._submit(answered))
            except Exception:  # noqa: BLE001 - the edge of the loop: one request's evaluation must not stop all others
                _log.exception("an evaluation could not be submitted", id=answered.request_id)
                self._count(Result.FAILED)
            pulse.end()

    async def refresh(self) -> None:
        """Read what the day's evaluations have cost, and how many wait. Raises DependencyError or TimeoutError."""
        self.judge.refresh()
        async with asyncio.timeout(REFRESH_TIMEOUT_S):
            self._spent_usd = await self.queue.spent_usd(self.clock.now())
            self._depth = await self.queue.depth()
        self.metrics.evaluation_spent.set(self._spent_usd)

    def view(self) -> dict[str, Any]:
        """Return what `/health` shows."""
        return {
            "judge": self.judge.arm.id,
            "trouble": self.judge.trouble or self.paused,
            "spent_usd": round(self._spent_usd, 9),
            "budget_usd": self.budget_nano_usd / NANO,
            "waiting": self._depth.waiting,
            "oldest_s": round(self._depth.age_s, 1),
        }

    async def _submit(self, answered: Answered) -> Result:
        if not await answered.stored:
            return Result.NOT_STORED  # its result would have no record to belong to
        if self.catalogue.arm(answered.outcome.arm).private:
            return Result.PRIVATE_MODEL
        task = self._task(answered)
        if task is None:
            return Result.TOO_LONG
        try:
            async with asyncio.timeout(self.timeout_s):
                submitted = await self.queue.submit(
                    task, budget_nano_usd=self.budget_nano_usd, most_waiting=self.most_waiting
                )
        except (DependencyError, TimeoutError) as error:
            _log.debug("an evaluation is skipped", error=str(error)[:300])
            self._pause(Result.REDIS, PAUSE_S)
            return Result.REDIS
        if submitted is not Submitted.SUBMITTED:
            self._pause(Result(submitted), SPENT_PAUSE_S if submitted is Submitted.OVER_BUDGET else PAUSE_S)
        return Result(submitted)

    def _task(self, answered: Answered) -> EvaluationTask | None:
        """Return the task; None where the whole answer is not known."""
        first, outcome = answered.choices[0] if answered.choices else AnswerChoice(), answered.outcome
        if not first.complete:
            return None
        others = tuple(arm for arm in answered.plan.arms if arm != outcome.arm)  # a fallback may have served
        body = {name: value for name, value in answered.body.items() if name not in _LEFT_OUT}
        return EvaluationTask(
            request_id=answered.request_id,
            owner=answered.owner,
            plan=replace(answered.plan, arms=others),
            arm=outcome.arm,
            body=body,
            answer=answer_text(first),
            reserved_nano_usd=reservation(
                self.judge.arm.price or _FREE,
                [self.catalogue.price(arm) or _FREE for arm in others],
                prompt_tokens=max(outcome.prompt_tokens, prompt_tokens(answered.body)),
                answer_tokens=outcome.completion_tokens,
                most_tokens=largest_answer(answered.body),
            ),
            day=utc_day(self.clock.now()),
        )

    def _pause(self, why: Result, seconds: float) -> None:
        self._paused_by, self._paused_until = why, self.clock.monotonic() + seconds

    def _count(self, result: Result) -> None:
        self.metrics.evaluation_requests.labels(result).inc()


_FREE = Price(0.0, 0.0)
"""The planner has excluded models without a price; one that has lost it since counts as nothing."""
