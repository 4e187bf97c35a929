"""The demo's arithmetic: what is compared is compared on the same prompts."""

import numpy as np
import pytest

from deploy.local.demo.__main__ import demo_settings
from deploy.local.demo.evaluation_cost import EvaluationCost
from deploy.local.demo.reconciliation import Reconciliation
from deploy.local.demo.utility import compare, shares, utilities
from deploy.simulator.recorded_outcomes import load_outcomes
from shared.bandit.policy import DEFAULT_WEIGHTS
from shared.settings import Settings

OUTCOMES = load_outcomes(None).take(range(200))
LATENCY = np.array([0.04, 0.08, 0.12])
VALUE = utilities(OUTCOMES, LATENCY, DEFAULT_WEIGHTS)


@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_router_that_always_chooses_one_model_is_that_model(column: int) -> None:
    """The router's line equals the fixed model's line when it does the same; random is the mean of all models."""
    lines = {line.name.removesuffix(" *"): line for line in compare(OUTCOMES, VALUE, np.full(200, column))}
    fixed = lines[OUTCOMES.models[column]]
    router = lines["router"]
    assert (router.quality, router.cost_usd, router.utility) == pytest.approx(
        (fixed.quality, fixed.cost_usd, fixed.utility)
    )
    means = [lines[model].utility for model in OUTCOMES.models]
    assert lines["random"].utility == pytest.approx(np.mean(means))


def test_the_star_is_at_the_best_fixed_model() -> None:
    """No fixed model has a higher mean utility than the starred one."""
    lines = compare(OUTCOMES, VALUE, np.zeros(200, dtype=np.int64))[2:]
    starred = [line for line in lines if line.name.endswith("*")]
    assert len(starred) == 1
    assert starred[0].utility == max(line.utility for line in lines)


def test_only_answered_prompts_are_compared() -> None:
    """Prompts without an answer count for no policy; before the first answer there is nothing to compare."""
    chosen = np.full(200, -1)
    assert compare(OUTCOMES, VALUE, chosen) == []
    chosen[7] = 1
    lines = compare(OUTCOMES, VALUE, chosen)
    assert lines[0].quality == OUTCOMES.scores[7, 1]
    assert lines[1].quality == pytest.approx(OUTCOMES.scores[7].mean())
    assert shares(chosen, 3).tolist() == [0.0, 1.0, 0.0]


def test_dearer_slower_and_worse_are_each_worth_less() -> None:
    """Utility falls with cost and latency and rises with quality, as the weights say."""
    dearer, better = OUTCOMES.take(range(200)), OUTCOMES.take(range(200))
    dearer.costs[:, 0] += dearer.costs.mean() / 100
    better.scores[:, 0] += 0.01
    assert (utilities(dearer, LATENCY, DEFAULT_WEIGHTS).utility[:, 0] < VALUE.utility[:, 0]).all()
    assert (utilities(better, LATENCY, DEFAULT_WEIGHTS).utility[:, 0] > VALUE.utility[:, 0]).all()
    slower = utilities(OUTCOMES, LATENCY + np.array([0.01, 0, 0]), DEFAULT_WEIGHTS)
    assert (slower.utility[:, 0] < VALUE.utility[:, 0]).all()


@pytest.mark.parametrize(
    ("account", "balanced"),
    [
        (Reconciliation(sent=5, applied=5, waiting=0, dead=0), True),
        (Reconciliation(sent=5, applied=4, waiting=1, dead=0), False),
        (Reconciliation(sent=5, applied=6, waiting=0, dead=0), False),
        (Reconciliation(sent=5, applied=5, waiting=0, dead=1), False),
    ],
)
def test_an_account_balances_only_when_nothing_is_lost_or_doubled(account: Reconciliation, *, balanced: bool) -> None:
    """Missing, doubled, waiting and dead ratings all show."""
    assert account.balanced == balanced
    assert ("accounted for" in account.line()) == balanced


def test_the_cost_of_evaluations_is_compared_with_that_of_serving() -> None:
    """What was not finished in time shows."""
    line = EvaluationCost(120, 0, 0.05, {"a": 70, "b": 15}).line(served_usd=0.2)
    assert line.startswith("120 requests evaluated for 0.0500 USD, 25% of what serving cost; ")
    assert line.endswith("70 of a, 15 of b")
    assert "3 NOT FINISHED" in EvaluationCost(120, 3, 0.05, {}).line(served_usd=0.0)


def test_the_demo_evaluates_only_on_request() -> None:
    """With the simulated judge, whatever judge the user has set: its money is real."""
    own = Settings(JUDGE_MODEL="openai/gpt-4o")
    assert demo_settings(own, OUTCOMES).JUDGE_MODEL is None
    assert demo_settings(own, OUTCOMES, judged=True).JUDGE_MODEL == "simulated/judge"
