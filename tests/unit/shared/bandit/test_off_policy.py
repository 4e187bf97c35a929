"""Off-policy estimators: right on problems whose answer is known, and None where it cannot be known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bandit.off_policy import (
    ESTIMATORS,
    MIN_ESS,
    Choices,
    Floats,
    best_shrinkage,
    block_means,
    estimate,
    requests_needed,
    shrink_weights,
    support,
)

CHANCES = np.array([0.6, 0.3, 0.1])
WORTH = np.array([0.5, 0.7, 0.9])


def logged(n: int, target: Floats, seed: int, chances: Floats = CHANCES) -> Choices:
    """Choices with these chances, the same for every request."""
    chosen = np.random.default_rng(seed).choice(len(chances), size=n, p=chances)
    return Choices(np.tile(chances, (n, 1)), np.tile(target, (n, 1)), chosen.astype(np.intp))


def test_estimates_are_unbiased_on_a_known_problem() -> None:
    """On the mean over many logs each estimator finds what the target is worth, though the log chose otherwise."""
    target = np.array([0.1, 0.2, 0.7])
    truth = float(target @ WORTH)
    found: dict[str, list[float]] = {name: [] for name in ESTIMATORS}
    for seed in range(150):
        choices = logged(600, target, seed)
        rewards = (np.random.default_rng([seed, 1]).random(600) < WORTH[choices.chosen]).astype(float)
        estimates = estimate(choices, rewards, np.full((600, 3), 0.6), np.random.default_rng(0), replicates=2)
        for name in ESTIMATORS:
            found[name].append(estimates[name].value.value)
    for name in ESTIMATORS:
        error = np.mean(found[name]) - truth
        allowed = 3 * np.std(found[name]) / np.sqrt(len(found[name]))
        assert abs(error) < allowed + (0.01 if name == "DRos" else 0.002), name
    assert np.std(found["SNIPS"]) < np.std(found["IPS"])


def test_where_the_target_is_the_log_every_weight_is_one() -> None:
    """IPS and SNIPS are the mean, and no difference is found."""
    choices = logged(400, CHANCES, 3)
    rewards = np.random.default_rng(1).random(400)
    found = estimate(choices, rewards, np.zeros((400, 3)), np.random.default_rng(2))
    for name in ("IPS", "SNIPS", "DR"):
        assert found[name].value.value == pytest.approx(rewards.mean())
        assert found[name].difference.value == pytest.approx(0)
    assert found["IPS"].difference.high == pytest.approx(0)
    known = support(choices)
    assert known.ess == pytest.approx(400)
    assert known.expected_ess == pytest.approx(400)
    assert known.refusal is None


def test_with_a_perfect_model_dr_does_not_depend_on_what_was_chosen() -> None:
    """Doubly robust estimates have no variance left, and an interval of no width."""
    target = np.array([0.2, 0.3, 0.5])
    for seed in range(3):
        choices = logged(500, target, seed)
        found = estimate(choices, WORTH[choices.chosen], np.tile(WORTH, (500, 1)), np.random.default_rng(seed))
        for name in ("DR", "DRos"):
            assert found[name].value.value == pytest.approx(float(target @ WORTH))
            assert found[name].value.high - found[name].value.low == pytest.approx(0, abs=1e-9)
        assert found["IPS"].value.high - found["IPS"].value.low > 0.01


def test_thin_support_is_refused() -> None:
    """Choices the log never makes, or so rarely that a few requests decide everything, are not judged."""
    chances = np.array([0.989, 0.01, 0.001])
    never, rarely, often = (
        support(logged(2000, np.eye(3)[arm], 1, np.array(given_chances)))
        for arm, given_chances in ((2, [0.7, 0.3, 0.0]), (1, chances), (0, chances))
    )
    assert never.uncovered == 1
    assert "never" in (never.refusal or "")
    assert rarely.expected_ess == pytest.approx(20)
    assert "effective sample size" in (rarely.refusal or "")
    assert often.refusal is None
    assert support(Choices(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, dtype=np.intp))).refusal is not None


@pytest.mark.parametrize("chance", [0.05, 0.2, 0.6])
def test_as_many_requests_as_are_said_to_be_needed_are_enough(chance: float) -> None:
    """For one arm it is MIN_ESS over its probability; a fifth fewer are refused, and a fifth more are judged."""
    chances, target = np.array([1 - chance, chance]), np.array([0.0, 1.0])
    needed = requests_needed(logged(40, target, 0, chances))
    assert needed == pytest.approx(MIN_ESS / chance, rel=0.03)
    assert needed is not None
    refused = [support(logged(round(needed * part), target, 3, chances)).refusal for part in (0.8, 1.2)]
    assert refused[1] is None
    assert refused[0] is not None
    assert f"of {MIN_ESS:.0f} needed" in refused[0]


def test_choices_that_are_practically_never_made_need_ten_of_each() -> None:
    """Where a target's rare choices are ten times as likely as in the log, the log must make them ten times."""
    chances, target = np.array([0.9999, 0.0001]), np.array([0.95, 0.05])
    assert requests_needed(logged(500, target, 0, chances)) == pytest.approx(10 / 0.0001, rel=0.03)
    impossible = Choices(np.tile([1.0, 0.0], (9, 1)), np.tile(target, (9, 1)), np.zeros(9, dtype=np.intp))
    assert requests_needed(impossible) is None
    assert requests_needed(Choices(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0, dtype=np.intp))) is None


def test_a_rare_huge_weight_that_did_not_come_out_is_refused_all_the_same() -> None:
    """Half the target's choices were possible once in 10,000 requests: that none was made is no evidence of support."""
    n = 2000
    propensity = np.tile([0.9999, 0.0001], (n, 1))
    choices = Choices(propensity, np.full((n, 2), 0.5), np.zeros(n, dtype=np.intp))
    known = support(choices)
    assert known.ess == pytest.approx(n)
    assert known.refusal is not None


weights_strategy = st.lists(st.floats(0, 1e6), min_size=1, max_size=30).map(np.array)


@given(weights_strategy, st.floats(1e-6, 1e12))
def test_shrinking_lowers_weights_and_nothing_else(weights: Floats, shrinkage: float) -> None:
    """A shrunk weight is between 0 and the weight, at most half the root of lambda; infinity changes nothing."""
    shrunk = shrink_weights(weights, shrinkage)
    assert (shrunk >= 0).all()
    assert (shrunk <= weights * (1 + 1e-9)).all()
    assert (shrunk <= np.sqrt(shrinkage) / 2 * (1 + 1e-9)).all()
    assert (shrink_weights(weights, np.inf) == weights).all()


def test_weights_are_shrunk_where_they_are_wild_and_the_model_is_fair() -> None:
    """A few huge weights on noise are shrunk; weights that cost nothing keep a bias of the model out."""
    rng = np.random.default_rng(4)
    wild = np.where(rng.random(1000) < 0.01, 100.0, 0.0)
    shrinkage = best_shrinkage(wild, np.zeros(1000), rng.standard_normal(1000))
    assert shrink_weights(wild, shrinkage).max() < 90
    even = best_shrinkage(np.ones(1000), np.zeros(1000), rng.standard_normal(1000) + 5)
    assert shrink_weights(np.ones(1), even)[0] > 0.98


def test_blocks_keep_what_hangs_together() -> None:
    """The bootstrap's spread of a mean grows where neighbours in time are alike, and is the usual one where not."""
    rng = np.random.default_rng(5)
    independent = rng.standard_normal(1000)
    alike = np.repeat(rng.standard_normal(100), 10)
    columns = np.column_stack((independent, alike))
    spread = block_means(columns, rng, 2000).std(axis=0)
    assert spread[0] == pytest.approx(independent.std() / np.sqrt(1000), rel=0.25)
    assert spread[1] > 2 * alike.std() / np.sqrt(1000)
