"""Evaluator: asks the models of a plan, lets the judge score all answers of the prompt together, returns the result."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from msgspec import Struct, structs

from services.learner.evaluating.judge_prompt import judge_messages
from services.learner.evaluating.model_calls import Called, ModelCaller
from services.learner.evaluating.model_list import ModelList
from services.learner.evaluating.rubric import Rubric, load_rubric
from services.learner.evaluating.verdict import scores_of
from shared.bandit.arms import ArmId
from shared.ports import Clock
from shared.resilience.upstream_circuits import CircuitBreakers
from shared.schemas.evaluation import Candidate, Evaluation, EvaluationTask
from shared.settings import Settings
from shared.settings.model_prices import prices_of
from shared.upstreams import Upstreams

SHADOW_TIMEOUT_S, JUDGE_TIMEOUT_S = 180.0, 120.0
SHADOW_WAIT_S, JUDGE_WAIT_S = 3.0, 60.0
"""Longest wait for a model that cools down; longer for the judge, because the answers to be scored have been paid."""
VERDICTS = 2
"""So many times the judge is asked where it returns no valid verdict."""

NO_VERDICT, NO_ANSWER = "no_verdict", "no_answer"
"""Labels: the judge answered, but not with a score for each answer; no model answered."""


@dataclass(eq=False)
class Evaluator:
    """Makes the evaluation of a task. `rng` puts the answers in a random order for the judge."""

    caller: ModelCaller
    _: KW_ONLY
    judge: str
    rubric: Rubric
    clock: Clock
    rng: random.Random = field(default_factory=random.SystemRandom)

    async def cooldown_s(self) -> float:
        """Return the time until the judge may be called; until then no other model should be asked in vain."""
        return self.caller.cooldown_s(await self.caller.models.named(self.judge))

    async def evaluate(self, task: EvaluationTask) -> Evaluation:
        """Ask the other models of the plan, then the judge. Failures are part of the result."""
        served = Candidate(task.arm, served=True, score=None), task.answer
        return await self._evaluate(
            task.request_id, task.body, [arm for arm in task.plan.arms if arm != task.arm], served
        )

    async def compare(self, request_id: str, body: Mapping[str, Any], arms: Sequence[ArmId]) -> Evaluation:
        """Ask `arms`, then the judge, about a prompt that no user waits for."""
        return await self._evaluate(request_id, body, arms)

    async def _evaluate(
        self, request_id: str, body: Mapping[str, Any], arms: Sequence[ArmId], *before: tuple[Candidate, str]
    ) -> Evaluation:
        """Ask `arms` and the judge; `before` are answers that are there already."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._shadow(request_id, body, arm)) for arm in arms]
        called = [task.result() for task in tasks]
        candidates = [one for one, _ in before] + list(map(_candidate, arms, called))
        answers = [text for _, text in before] + [each.text for each in called]
        order = [at for at, answer in enumerate(answers) if answer is not None]
        self.rng.shuffle(order)
        verdict = await self._verdict(request_id, body, [answers[at] or "" for at in order])
        for at, score in zip(order, verdict.scores, strict=False):
            candidates[at] = structs.replace(candidates[at], score=score)
        return Evaluation(
            judge=verdict.judge,
            rubric=self.rubric.hash,
            evaluated_at=self.clock.now(),
            candidates=tuple(candidates),
            judge_cost_usd=verdict.cost_usd,
            error=verdict.error,
        )

    async def _shadow(self, request_id: str, body: Mapping[str, Any], arm: ArmId) -> Called:
        return await self.caller.call(arm, body, request_id=request_id, within_s=SHADOW_TIMEOUT_S, wait_s=SHADOW_WAIT_S)

    async def _verdict(self, request_id: str, body: Mapping[str, Any], answers: list[str]) -> _Verdict:
        """Ask the judge, again where it returns no valid verdict."""
        judge = await self.caller.models.named(self.judge)
        if not answers:
            return _Verdict(judge, (), 0.0, NO_ANSWER)
        asked = {"messages": judge_messages(self.rubric, body, answers)}
        calls: list[Called] = []
        scores = None
        while scores is None and len(calls) < VERDICTS:
            called = await self.caller.call(
                judge, asked, request_id=request_id, within_s=JUDGE_TIMEOUT_S, wait_s=JUDGE_WAIT_S
            )
            calls.append(called)
            scores = None if called.text is None else scores_of(called.text, len(answers), self.rubric)
        costs = [each.cost_usd for each in calls if each.cost_usd is not None]
        error = None if scores is not None else calls[-1].error or NO_VERDICT
        return _Verdict(judge, scores or (), sum(costs) if costs else None, error)


class _Verdict(Struct, frozen=True):
    """The judge's scores, in the order of the answers; none with an `error`. `cost_usd`: of all calls that gave it."""

    judge: ArmId
    scores: tuple[float, ...]
    cost_usd: float | None
    error: str | None


def _candidate(arm: ArmId, called: Called) -> Candidate:
    return Candidate(
        arm,
        served=False,
        score=None,
        error=called.error,
        cost_usd=called.cost_usd,
        latency_s=called.latency_s,
        prompt_tokens=called.prompt_tokens,
        completion_tokens=called.completion_tokens,
    )


def make_evaluator(chat: Upstreams, judge: str, settings: Settings, clock: Clock) -> Evaluator:
    """Return an evaluator with circuits of its own. Raises SettingsError where the rubric cannot be read."""
    models = ModelList(chat, prices_of(settings.MODEL_PRICES), clock)
    caller = ModelCaller(
        chat, circuits=CircuitBreakers(clock, upstream_of=chat.upstream_of), models=models, clock=clock
    )
    return Evaluator(caller, judge=judge, rubric=load_rubric(settings.JUDGE_RUBRIC), clock=clock)
