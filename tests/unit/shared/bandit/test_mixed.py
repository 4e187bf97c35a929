"""The mixed model: exact, and fair to arms that saw easy or hard prompts only."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.bandit import mixed
from shared.bandit.mixed import Cells, fit_mixed, noise_variance
from shared.bandit.policy import BanditSettings

Floats = NDArray[np.float64]
SETTINGS = BanditSettings()


def cells(labels: Floats, means: Floats, log_price: Floats | None = None) -> Cells:
    """Return the cells of 0/1 ratings with these counts and means; column 0 is the unknown cluster."""
    scores = labels * means
    arms, clusters = labels.shape
    traffic = np.full(clusters, 1 / clusters)
    return Cells(labels, scores, scores.sum(axis=1), np.zeros(arms) if log_price is None else log_price, traffic)


def dense(data: Cells, arm_sd: float, cluster_sd: float, slope: tuple[float, float]) -> tuple[Floats, Floats]:
    """The same model as one big normal distribution over all cells: mean and variance of every cell's quality."""
    arms, clusters = data.labels.shape
    level = np.full((clusters, clusters), mixed.LEVEL_SD**2)
    known = np.diag([0.0] + [1.0] * (clusters - 1))
    shared = level + mixed.DIFFICULTY_SD**2 * known
    own = arm_sd**2 * np.ones((clusters, clusters)) + cluster_sd**2 * known
    prices = slope[1] ** 2 * np.outer(data.log_price, data.log_price)
    prior = np.kron(np.ones((arms, arms)), shared) + np.kron(np.eye(arms), own)
    prior += np.kron(prices, np.ones((clusters, clusters)))
    mean = np.repeat(SETTINGS.optimistic_prior + slope[0] * data.log_price, clusters)
    seen = data.labels.ravel() > 0
    noise = np.repeat(noise_variance(data, SETTINGS), clusters)[seen] / data.labels.ravel()[seen]
    gain = prior[:, seen] @ np.linalg.inv(prior[np.ix_(seen, seen)] + np.diag(noise))
    rated = data.scores.ravel()[seen] / data.labels.ravel()[seen]
    after = mean + gain @ (rated - mean[seen])
    variance = np.diag(prior - gain @ prior[seen])
    return after.reshape(arms, clusters), variance.reshape(arms, clusters)


@pytest.mark.parametrize("cluster_sd", [0.0, 0.1])
def test_it_is_the_exact_posterior_of_its_model(monkeypatch: pytest.MonkeyPatch, cluster_sd: float) -> None:
    """At one point of the grid the closed form equals conditioning one big normal distribution."""
    slope = (0.03, 0.05)
    monkeypatch.setattr(mixed, "ARM_SPREADS", (1.5,))
    monkeypatch.setattr(mixed, "CLUSTER_SPREADS", (cluster_sd,))
    monkeypatch.setattr(mixed, "SLOPES", (slope,))
    rng = np.random.default_rng(1)
    data = cells(
        rng.integers(0, 9, (5, 4)).astype(float), rng.uniform(0.2, 0.9, (5, 4)), np.array([-1, -0.5, 0, 0.5, 1.0])
    )
    fit = fit_mixed(data, SETTINGS)
    mean, variance = dense(data, 0.15, cluster_sd, slope)
    assert fit.cluster_mean == pytest.approx(mean, abs=1e-9)
    assert fit.cluster_variance == pytest.approx(variance, abs=1e-9)
    assert fit.mean == pytest.approx(mean @ data.traffic, abs=1e-9)


def test_an_arm_that_saw_hard_prompts_only_is_not_blamed_for_them() -> None:
    """Equal on the hard cluster means about equal, though one arm's average is far lower."""
    labels = np.array([[0, 60.0, 20.0], [0, 0.0, 20.0]])
    means = np.array([[0, 0.95, 0.4], [0, 0.0, 0.4]])
    fit = fit_mixed(cells(labels, means), SETTINGS)
    assert abs(fit.mean[0] - fit.mean[1]) < 0.1


def test_context_counts_as_far_as_the_evidence_carries_it() -> None:
    """Arms that swap places between clusters raise the belief in context; arms that do not, lower it."""
    labels = np.full((2, 3), 100.0)
    labels[:, 0] = 0
    swapped = fit_mixed(cells(labels, np.array([[0, 0.9, 0.5], [0, 0.5, 0.9]])), SETTINGS)
    parallel = fit_mixed(cells(labels, np.array([[0, 0.9, 0.5], [0, 0.8, 0.4]])), SETTINGS)
    assert swapped.context > 0.95 > parallel.context
    assert swapped.cluster_mean[0, 1] > swapped.cluster_mean[1, 1] + 0.2
    assert swapped.cluster_mean[0, 2] < swapped.cluster_mean[1, 2] - 0.2


def test_the_price_prior_is_a_hedge_that_ratings_overrule() -> None:
    """Dear arms start a little ahead; fifty ratings that say the opposite turn it round."""
    price = np.array([-2.0, 0.0, 2.0])
    nothing = fit_mixed(cells(np.zeros((3, 1)), np.zeros((3, 1)), price), SETTINGS)
    assert nothing.mean[0] < nothing.mean[1] < nothing.mean[2]
    assert nothing.price_slope == pytest.approx(0.0175)
    against = fit_mixed(cells(np.full((3, 1), 17.0), np.array([[0.9], [0.75], [0.5]]), price), SETTINGS)
    assert against.mean[0] > against.mean[1] > against.mean[2]
    assert against.price_slope < 0.01


def test_a_sole_arm_and_many_arms_are_fine() -> None:
    """One arm, no cluster, fifty arms, no ratings: always finite."""
    for arms, clusters in ((1, 1), (50, 9)):
        fit = fit_mixed(cells(np.zeros((arms, clusters)), np.zeros((arms, clusters))), SETTINGS)
        assert np.isfinite(fit.mean).all()
        assert (fit.cluster_variance > 0).all()


def test_before_any_rating_the_noise_is_the_square_of_its_prior() -> None:
    """A standard deviation goes in, a variance comes out; ratings that agree make it smaller, never zero."""
    nothing = cells(np.zeros((2, 3)), np.zeros((2, 3)))
    assert noise_variance(nothing, SETTINGS) == pytest.approx(mixed.NOISE_SD**2)
    agreed = noise_variance(cells(np.full((2, 3), 1000.0), np.ones((2, 3))), SETTINGS)
    assert (agreed > 0).all()
    assert (agreed < mixed.NOISE_SD**2 / 10).all()
