"""Laws of the exact probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

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


SPREAD = st.one_of(st.just(0.0), st.just(0.03), st.floats(-4, 0).map(lambda digits: 10**digits))
NEAR = st.one_of(st.just(0.5), st.floats(0.4, 0.6), st.floats(-1, 1))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(NEAR, SPREAD), min_size=2, max_size=8).filter(lambda draws: any(sd for _, sd in draws)))
@example([(0.5, 0.0), (0.5, 0.0), (0.5, 0.0001)])
def test_they_agree_with_brute_force(draws: list[tuple[float, float]]) -> None:
    """To 1e-6, ties, arms without spread and sds ten thousand times as wide as others included."""
    means, sds = (np.array(column) for column in zip(*draws, strict=True))
    assert np.abs(propensities(means, sds) - brute_force(means, sds)).max() < 1e-6


@settings(max_examples=10, deadline=None)
@given(st.integers(10, 50), st.floats(0.5, 6), st.integers(0, 2**32 - 1))
def test_many_arms_agree_with_brute_force(arms: int, ratio: float, seed: int) -> None:
    """The more arms are alike the steeper is what is integrated, most of all beside a wider one."""
    means, sds = np.random.default_rng(seed).normal(0, 0.01, arms), np.full(arms, 0.03)
    sds[0] *= ratio
    assert np.abs(propensities(means, sds) - brute_force(means, sds)).max() < 1e-6


def brute_force(means: NDArray[np.float64], sds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The integrals by nodes that are a twentieth of every arm's sd apart where it changes, with the exact erfc."""
    sds = np.maximum(sds, 1e-9 * sds.max())  # no spread is the limit of very little
    means = means - means[sds == sds.min()].max()  # floats are closest at 0: there where the narrowest arms may win
    edges = np.unique((means[:, None] + sds[:, None] * np.arange(-8, 8.25, 0.5)).ravel())
    nodes, weights = np.polynomial.legendre.leggauss(10)
    widths = np.diff(edges)
    u = (edges[:-1, None] + widths[:, None] * (nodes + 1) / 2).ravel()
    z = (u - means[:, None]) / sds[:, None]
    cdf = 0.5 * np.array([math.erfc(-each / math.sqrt(2)) for each in z.ravel().tolist()]).reshape(z.shape)
    mass = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi) / sds[:, None] * (widths[:, None] * weights / 2).ravel()
    others = [np.prod(np.delete(cdf, arm, axis=0), axis=0) for arm in range(len(means))]
    chances = np.array([own @ rest for own, rest in zip(mass, others, strict=True)])
    total: float = chances.sum()
    return np.asarray(chances / total)  # nodes of an arm without spread are as close as floats are


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
    exact = normal_cdf((mu - nu) / math.hypot(s, t))
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
