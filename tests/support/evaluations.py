"""Evaluations to test with."""

from __future__ import annotations

from shared.bandit.arms import ArmId
from shared.bandit.racing import EvaluationPlan, EvaluationReason
from shared.clock import utc_day
from shared.evaluation_queue import EvaluationQueue
from shared.schemas.evaluation import Candidate, Evaluation, EvaluationTask
from tests.support.sample_records import ARM

SHADOW = "vendor/model-b"


def an_evaluation(
    served: float | None = 0.75, shadow: float | None = 0.5, *, arm: ArmId = ARM, other: ArmId = SHADOW
) -> Evaluation:
    """Return the served answer, one beside it, and a model that failed, with the judge's scores."""
    candidates = (
        Candidate(arm, served=True, score=served),
        Candidate(other, served=False, score=shadow, cost_usd=0.003, latency_s=1.5, prompt_tokens=20,
                  completion_tokens=40),
        Candidate("vendor/model-c", served=False, score=None, error="timeout", cost_usd=0.001, latency_s=30.0),
    )  # fmt: skip
    return Evaluation("vendor/judge", "5d2f00c2", 1_795_000_000.25, candidates, judge_cost_usd=0.001)


async def evaluate(queue: EvaluationQueue, own_id: str, evaluation: Evaluation) -> bool:
    """Submit a task, and finish it with this result; return whether the result was stored."""
    plan = EvaluationPlan(EvaluationReason.RACE, (SHADOW,), 0.5)
    task = EvaluationTask(own_id, "public", plan, ARM, {}, "an answer", 1, utc_day(evaluation.evaluated_at))
    await queue.prepare()
    await queue.submit(task, budget_nano_usd=10**12, most_waiting=1)
    (queued,) = await queue.read("one", 1)
    return await queue.finish(queued, evaluation)
