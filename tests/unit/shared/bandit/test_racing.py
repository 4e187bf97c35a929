"""Plan of evaluations: other models answer where choosing may still be wrong, and as often as it says."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from shared.bandit.arms import Arm, Price
from shared.bandit.build import build_policy
from shared.bandit.context import Context
from shared.bandit.decision import Weights
from shared.bandit.policy import BanditSettings
from shared.bandit.racing import (
    ASK_AT,
    MOST_LIKELY,
    NEW_TRIES,
    EvaluationPlan,
    EvaluationReason,
    EvaluationTerms,
    plan_evaluation,
)
from shared.bandit.sums import ArmSums, LearnedState, Sums

WEIGHTS = Weights(quality=1.0, latency=0.0, cost=0.0)
POLICY = build_policy(BanditSettings(weights=WEIGHTS))
ARMS = ("a", "b", "c", "d")
CHEAP = Price(1e-6, 1e-6)


def plans(
    means: Mapping[str, float],
    labels: float,
    *,
    prices: Mapping[str, Price] | None = None,
    terms: EvaluationTerms | None = None,
    failures: float = 0.0,
    requests: int = 400,
) -> list[EvaluationPlan | None]:
    """Return the plans of many requests, after so many 0/1 ratings of each arm."""
    arms = [Arm(arm, (prices or {}).get(arm, CHEAP)) for arm in ARMS]
    state = LearnedState(
        "1",
        {
            arm: ArmSums(
                Sums(labels, labels * mean, labels * mean, requests=labels, unpriced=labels, failures=failures)
            )
            for arm, mean in means.items()
        },
    )
    posterior, rng = POLICY.fit(state, arms), np.random.default_rng(1)
    found = []
    for _ in range(requests):
        decision = POLICY.decide(posterior, Context(), ARMS, rng)
        found.append(
            plan_evaluation(
                posterior, Context(), ARMS, decision, rng, weights=WEIGHTS, terms=terms or EvaluationTerms()
            )
        )
        assert found[-1] is None or decision.arm not in found[-1].arms
    return found


CLOSE = {"a": 0.6, "b": 0.58, "c": 0.57, "d": 0.3}
CLEAR = {"a": 0.9, "b": 0.2, "c": 0.2, "d": 0.2}


def test_new_models_all_answer_each_time() -> None:
    """Blocks of all models on the same prompts tell them apart the fastest."""
    for plan in plans(CLOSE, 0):
        assert plan is not None
        assert (plan.reason, len(plan.arms), plan.probability) == (EvaluationReason.RACE, len(ARMS) - 1, 1.0)


def test_a_model_that_only_fails_is_not_asked_for_ever() -> None:
    """A failed call counts as a try; without scores it stays a likely best, asked as often as that is worth."""
    found = plans(CLEAR, 0, failures=NEW_TRIES)
    assert all(plan is None or len(plan.arms) <= MOST_LIKELY for plan in found)


def test_few_likely_models_answer_as_often_as_the_plan_says() -> None:
    """The recorded probability is the frequency, and follows the expected regret."""
    found = plans(CLOSE, 100, terms=EvaluationTerms(rest_share=0.0))
    races = [plan for plan in found if plan is not None]
    assert all(0 < len(plan.arms) <= MOST_LIKELY for plan in races)
    mean = np.mean([plan.probability for plan in races])
    assert 0.05 < mean < 0.7
    assert len(races) / len(found) == pytest.approx(mean, abs=0.08)
    for plan in races:
        assert plan.probability == pytest.approx(plan.expected_regret / (ASK_AT * len(plan.arms)), rel=0.02)


def test_at_rest_a_small_share_of_served_answers_is_scored() -> None:
    """Where one model is clearly the best no other is asked."""
    found = plans(CLEAR, 1000, terms=EvaluationTerms(rest_share=0.3))
    scored = [plan for plan in found if plan is not None]
    assert {(plan.reason, plan.arms) for plan in scored} == {(EvaluationReason.SAMPLE, ())}
    assert len(scored) / len(found) == pytest.approx(0.3, abs=0.07)
    assert np.mean([plan.probability for plan in scored]) == pytest.approx(0.3, abs=0.01)


def test_dear_models_are_asked_less_often() -> None:
    """A race is worth its regret in units of its cost."""
    dear = {arm: Price(1e-5, 1e-5) for arm in "bcd"}
    often, seldom = (
        sum(plan is not None for plan in plans(CLOSE, 100, prices=prices, terms=EvaluationTerms(rest_share=0.0)))
        for prices in ({}, dear)
    )
    assert 0 < seldom < often / 3


def test_the_share_of_evaluated_requests_is_bounded() -> None:
    """Even while all models are new."""
    found = plans(CLOSE, 0, terms=EvaluationTerms(max_share=0.2, rest_share=0.5))
    kept = [plan for plan in found if plan is not None]
    assert len(kept) / len(found) == pytest.approx(0.2, abs=0.06)
    assert all(plan.probability == 0.2 for plan in kept)
