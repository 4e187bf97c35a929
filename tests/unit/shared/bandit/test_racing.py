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
    EvaluationPlan,
    EvaluationReason,
    EvaluationTerms,
    plan_evaluation,
)
from shared.bandit.sums import ArmSums, LearnedState, Sums

WEIGHTS = Weights(quality=1.0, latency=0.0, cost=0.0)
ARMS = ("a", "b", "c", "d")
CHEAP = Price(1e-6, 1e-6)
DEAR = Price(5e-4, 5e-4)


def plans(
    means: Mapping[str, float],
    labels: float,
    *,
    prices: Mapping[str, Price] | None = None,
    terms: EvaluationTerms | None = None,
    judge_usd: float = 0.0,
    weights: Weights = WEIGHTS,
    requests: int = 400,
) -> list[EvaluationPlan | None]:
    """Return the plans of many requests, after so many 0/1 ratings of each arm."""
    arms = [Arm(arm, (prices or {}).get(arm, CHEAP)) for arm in ARMS]
    state = LearnedState(
        "1",
        {
            arm: ArmSums(Sums(labels, labels * mean, labels * mean, requests=labels, unpriced=labels))
            for arm, mean in means.items()
        },
    )
    policy = build_policy(BanditSettings(weights=weights))
    posterior, rng = policy.fit(state, arms), np.random.default_rng(1)
    found = []
    for _ in range(requests):
        decision = policy.decide(posterior, Context(), ARMS, rng)
        found.append(
            plan_evaluation(
                posterior,
                Context(),
                ARMS,
                decision,
                rng,
                weights=weights,
                terms=terms or EvaluationTerms(),
                judge_usd=judge_usd,
            )
        )
        assert found[-1] is None or decision.arm not in found[-1].arms
    return found


CLOSE = {"a": 0.6, "b": 0.58, "c": 0.57, "d": 0.3}
CLEAR = {"a": 0.9, "b": 0.2, "c": 0.2, "d": 0.2}


def asks(found: list[EvaluationPlan | None]) -> dict[str, float]:
    """Return how often each arm is asked beside the one that serves, as a share of all requests."""
    return {arm: float(np.mean([plan is not None and arm in plan.arms for plan in found])) for arm in ARMS}


def test_while_nothing_is_known_most_requests_are_raced() -> None:
    """Several models answer the same prompt, which tells them apart the fastest."""
    found = plans(CLOSE, 0)
    races = [plan for plan in found if plan is not None and plan.reason is EvaluationReason.RACE]
    assert len(races) > 0.4 * len(found)
    assert np.mean([len(plan.arms) for plan in races]) > 1.5


def test_models_are_asked_as_often_as_the_plan_says() -> None:
    """The recorded probability is the frequency, and what is spent on a model follows the expected regret at most."""
    found = plans(CLOSE, 100, terms=EvaluationTerms(rest_share=0.0))
    races = [plan for plan in found if plan is not None]
    mean = np.mean([plan.probability for plan in races])
    assert 0.02 < mean < 0.7
    assert len(races) / len(found) == pytest.approx(mean, abs=0.08)
    assert max(asks(found).values()) <= races[0].expected_regret / ASK_AT + 0.08


def test_unknown_models_are_asked_no_more_often_than_their_price_allows() -> None:
    """Nothing is known of any model: what evaluations cost is bounded in units of serving, whatever a model costs."""
    found = plans(CLOSE, 0, prices={"d": DEAR}, requests=2000)
    often = asks(found)
    assert often["d"] < 0.02
    assert min(often[arm] for arm in "abc") > 5 * often["d"]


def test_a_model_that_could_not_win_with_perfect_scores_is_never_asked() -> None:
    """Its price takes more from the utility than any quality could bring."""
    weights = Weights(quality=1.0, latency=0.0, cost=-0.5)
    found = plans({"a": 0.9, "b": 0.85, "c": 0.3}, 60, prices={"d": DEAR}, weights=weights, requests=2000)
    assert asks(found)["d"] == 0.0
    assert asks(plans({"a": 0.9, "b": 0.85, "c": 0.3}, 60, requests=2000))["d"] > 0.0


def test_a_dear_judge_is_called_less_often() -> None:
    """Races are worth less than with a free one, and the share at rest costs no more than that share of serving."""
    usual = plans(CLOSE, 100, terms=EvaluationTerms(rest_share=0.0), requests=2000)
    dear = plans(CLOSE, 100, terms=EvaluationTerms(rest_share=0.0), judge_usd=1.0, requests=2000)
    assert sum(plan is not None for plan in dear) < 0.1 * sum(plan is not None for plan in usual)
    resting = [plan for plan in plans(CLEAR, 1000, terms=EvaluationTerms(rest_share=1.0), judge_usd=1.0) if plan]
    assert len(resting) < 0.1 * 400


def test_at_rest_a_small_share_of_served_answers_is_scored() -> None:
    """Where one model is clearly the best no other is asked."""
    found = plans(CLEAR, 1000, terms=EvaluationTerms(rest_share=0.3))
    scored = [plan for plan in found if plan is not None]
    assert {(plan.reason, plan.arms) for plan in scored} == {(EvaluationReason.SAMPLE, ())}
    assert len(scored) / len(found) == pytest.approx(0.3, abs=0.07)
    assert np.mean([plan.probability for plan in scored]) == pytest.approx(0.3, abs=0.01)


def test_the_share_of_evaluated_requests_is_bounded() -> None:
    """Even while all models are new."""
    found = plans(CLOSE, 0, terms=EvaluationTerms(max_share=0.2, rest_share=0.5))
    kept = [plan for plan in found if plan is not None]
    assert len(kept) / len(found) == pytest.approx(0.2, abs=0.06)
    assert all(plan.probability == 0.2 for plan in kept)
