"""Laws of the exact probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.bandit.propensity import chance_of_best, normal_cdf, propensities

MEAN = st.floats(-1, 1)
SD = st.one_of(st.just(0.0), st.floats(1e-6, 1.0))
DRAWS = st.lists(st.tuples(MEAN, SD), min_size=1, max_size=50)


@given(DRAWS)
def test_probabilities_are_probabilities(draws: list[tuple[float, float]]) -> None:
    """They are finite, not negative and sum to 1, whatever the means and spreads, zero included."""
    chances = propensities(*zip(*draws, strict=True))
    assert np.isfinite(chances).all()
    assert (chances >= 0).all()
    assert chances.sum() == pytest.approx(1.0, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(MEAN, st.floats(0.005, 0.5)), min_size=2, max_size=50), st.integers(0, 2**32 - 1))
def test_they_agree_with_simulation(draws: list[tuple[float, float]], seed: int) -> None:
    """They are the long-run frequencies of the argmax, within the error of the simulation."""
    means, sds = (np.array(column) for column in zip(*draws, strict=True))
    n = 20_000
    winners = (means + sds * np.random.default_rng(seed).standard_normal((n, means.size))).argmax(axis=1)
    simulated = np.bincount(winners, minlength=means.size) / n
    exact = propensities(means, sds)
    assert np.abs(simulated - exact).max() <= 5.5 * np.sqrt((exact * (1 - exact)).max() / n) + 1e-4


@given(st.lists(st.tuples(MEAN, st.floats(0.005, 0.5)), min_size=2, max_size=20), st.randoms(use_true_random=False))
def test_the_order_of_the_arms_does_not_matter(draws: list[tuple[float, float]], random: object) -> None:
    """Permuting the arms permutes their probabilities."""
    order = list(range(len(draws)))
    random.shuffle(order)  # type: ignore[attr-defined]
    straight = propensities(*zip(*draws, strict=True))
    shuffled = propensities(*zip(*[draws[i] for i in order], strict=True))
    assert shuffled == pytest.approx(straight[order], abs=1e-6)


@given(MEAN, MEAN, st.floats(0.005, 0.5), st.floats(0.005, 0.5))
def test_two_arms_have_a_closed_form(mu: float, nu: float, s: float, t: float) -> None:
    """With two arms it is the distribution function of the difference."""
    exact = float(normal_cdf(np.array([(mu - nu) / np.hypot(s, t)]))[0])
    assert propensities([mu, nu], [s, t])[0] == pytest.approx(exact, abs=1e-6)


@given(DRAWS.filter(lambda draws: len(draws) > 1), MEAN, st.floats(0.0, 1.0))
def test_a_better_arm_is_not_chosen_less_often(draws: list[tuple[float, float]], step: float, sd: float) -> None:
    """Raising one mean never lowers that arm's probability."""
    means, sds = map(list, zip(*draws, strict=True))
    sds[0] = sd
    before = propensities(means, sds)[0]
    means[0] += abs(step)
    assert propensities(means, sds)[0] >= before - 1e-6


def test_a_certain_arm_beside_a_wide_one_is_resolved() -> None:
    """A density a thousand times narrower than its neighbour's is not lost between nodes."""
    for narrow in (1e-2, 1e-4, 1e-6, 0.0):
        chances = propensities([0.1, 0.0, -0.2], [narrow, 1.0, 0.0])
        assert chances[0] == pytest.approx(0.5398, abs=3e-3 if narrow == 1e-2 else 1e-4)


def test_without_spread_the_first_of_the_best_is_certain() -> None:
    """A greedy choice has probability 1, and ties go to the first."""
    assert propensities([0.1, 0.5, 0.5], [0.0, 0.0, 0.0]).tolist() == [0, 1, 0]
    assert propensities([0.3], [0.2]).tolist() == [1]


@given(st.lists(st.tuples(MEAN, st.floats(0.01, 0.5)), min_size=1, max_size=20))
def test_confidence_is_the_probability_of_the_chosen_one(draws: list[tuple[float, float]]) -> None:
    """The quick form for people agrees with the exact one."""
    means, sds = (np.array(column) for column in zip(*draws, strict=True))
    exact = propensities(means, sds)
    best = int(means.argmax())
    assert chance_of_best(means, sds, best) == pytest.approx(exact[best], abs=0.02)
