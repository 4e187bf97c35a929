"""An evaluator on a fake upstream."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from services.learner.evaluating.evaluator import Evaluator
from services.learner.evaluating.model_calls import ModelCaller
from services.learner.evaluating.model_list import ModelList
from services.learner.evaluating.rubric import load_rubric
from shared.bandit.racing import EvaluationPlan, EvaluationReason
from shared.resilience.upstream_circuits import CircuitBreakers
from shared.schemas.evaluation import EvaluationTask
from tests.support.fakes.chat_model import FakeChatModel
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.judge import JUDGE

MakeEvaluator = Callable[[FakeChatModel], Evaluator]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def evaluator(clock: FakeClock) -> MakeEvaluator:
    def make(chat: FakeChatModel) -> Evaluator:
        caller = ModelCaller(chat, circuits=CircuitBreakers(clock), models=ModelList(chat, {}, clock), clock=clock)
        return Evaluator(caller, judge=JUDGE, rubric=load_rubric(None), clock=clock, rng=random.Random(0))

    return make


def a_task(*arms: str, request_id: str = "request-1", **body: object) -> EvaluationTask:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 6 x 7?"}]
    return EvaluationTask(
        request_id=request_id,
        owner="public",
        plan=EvaluationPlan(EvaluationReason.RACE, arms, 1.0),
        arm="served/model",
        body={"messages": messages, **body},
        answer="It is 42.",
        reserved_nano_usd=1_000_000,
        day="2026-12-01",
    )
