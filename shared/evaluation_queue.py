"""Port of the evaluation queue; errors are those of `shared.ports`."""

from __future__ import annotations

from typing import Protocol

from shared.schemas.evaluation import Evaluation, EvaluationDepth, EvaluationTask, QueuedEvaluation, Submitted


class EvaluationQueue(Protocol):
    """Tasks of evaluations, and the day's budget that all gateways share. A task is redelivered until it is finished.

    The budget is reserved when a task is submitted and settled when it is finished, so that a day's spending never
    passes it by more than what tasks in flight cost beyond their reservation.
    """

    async def prepare(self) -> None:
        """Create the stream and its consumer group, or find them."""

    async def submit(self, task: EvaluationTask, *, budget_nano_usd: int, most_waiting: int) -> Submitted:
        """Store a task of a recorded request and reserve its cost, both or neither. Idempotent per request."""

    async def read(self, consumer: str, limit: int) -> list[QueuedEvaluation]:
        """Return new tasks for `consumer`, without waiting."""

    async def claim(self, consumer: str, *, idle_s: float, limit: int) -> list[QueuedEvaluation]:
        """Take over tasks that were delivered at least `idle_s` ago and not finished."""

    async def keep(self, consumer: str, queued: QueuedEvaluation) -> None:
        """Say that `consumer` still works on a task, so that no other claims it."""

    async def finish(self, queued: QueuedEvaluation, result: Evaluation | None) -> bool:
        """Store the result with its request, send its event, settle the budget and remove the task, atomically.

        Where costs are unknown, at least the reservation stays spent.

        None: give the task up, with nothing stored; its reservation stays spent. False, and only the task is removed,
        where the request has a result already or is gone.
        """

    async def forget_consumers(self, idle_s: float) -> int:
        """Remove consumers without tasks that have been idle for `idle_s`; return how many."""

    async def depth(self) -> EvaluationDepth:
        """Return the depth of the queue."""

    async def spent_usd(self, now: float) -> float:
        """Return what evaluations of that UTC day have cost, reservations included."""
