"""The mixed model: exact, and fair to arms that saw easy or hard prompts only."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.bandit import mixed
from shared.bandit.evidence import SourceCells, noise_variance
from shared.bandit.mixed import Cells, fit_mixed
from shared.bandit.sources import Source

Floats = NDArray[np.float64]
LEVEL, BONUS = 0.8, 0.1


def cells(labels: Floats, means: Floats, covariates: Floats | None = None, kernel: Floats | None = None) -> Cells:
    """Return the cells of 0/1 ratings with these counts and means; column 0 is the unknown kind."""
    scores = labels * means
    arms, kinds = labels.shape
    traffic = np.arange(1.0, kinds + 1) / np.arange(1.0, kinds + 1).sum()
    prices = np.zeros((arms, 2)) if covariates is None else covariates
    ratings = SourceCells(Source.USER, labels, scores, scores.sum(axis=1))
    return Cells(ratings, prices, traffic, np.eye(kinds) if kernel is None else kernel)


def some_covariates(arms: int) -> Floats:
    """Return prices that rise, and benchmarks of another order."""
    return np.column_stack((np.linspace(-1, 1, arms), np.linspace(-0.2, 0.2, arms)[np.arange(arms) * 3 % arms]))


def some_cells(seed: int = 1, arms: int = 5, kinds: int = 4) -> Cells:
    """Return cells with ratings at random, a few of them empty, and similar kinds."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(kinds - 1, 3))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    kernel = np.eye(kinds)
    kernel[1:, 1:] = np.exp(centres @ centres.T - 1)
    labels = rng.integers(0, 9, (arms, kinds)) * (rng.random((arms, kinds)) < 0.8)
    return cells(labels.astype(float), rng.uniform(0.2, 0.9, (arms, kinds)), some_covariates(arms), kernel)


def covariance(
    data: Cells, arm_variance: float, kind_variance: float, slope_variance: Floats, *, shared: bool = True
) -> Floats:
    """Return the prior covariance of the quality of every arm for every kind, (K C, K C), straight from the model.

    Without what arms share (difficulty and price slope) if not `shared`.
    """
    arms, kinds = data.labels.shape
    result = np.zeros((arms * kinds, arms * kinds))
    for (a, c), (b, d) in product(product(range(arms), range(kinds)), repeat=2):
        value = 0.0
        if shared:
            value += mixed.LEVEL_SD**2 + mixed.DIFFICULTY_SD**2 * data.kernel[c, d]
            value += float((slope_variance * data.covariates[a] * data.covariates[b]).sum())
        if a == b:
            value += arm_variance
            if c > 0 and d > 0:
                value += kind_variance * (0.9 * data.kernel[c, d] + 0.1 * (c == d))
        result[a * kinds + c, b * kinds + d] = value
    return result


def dense(data: Cells, prior: Floats, slope: Floats) -> tuple[Floats, Floats, float]:
    """Condition one normal distribution over all cells: mean (K C,), covariance, and log density of the ratings."""
    kinds = data.labels.shape[1]
    mean = np.repeat(LEVEL + data.covariates @ slope, kinds)
    seen = data.labels.ravel() > 0
    noise = np.repeat(noise_variance(data.ratings), kinds)[seen] / data.labels.ravel()[seen]
    of_means = prior[np.ix_(seen, seen)] + np.diag(noise)
    gain = prior[:, seen] @ np.linalg.inv(of_means)
    residual = data.ratings.scores.ravel()[seen] / data.labels.ravel()[seen] - mean[seen]
    density = -0.5 * float(residual @ np.linalg.solve(of_means, residual) + np.linalg.slogdet(of_means)[1])
    return mean + gain @ residual, prior - gain @ prior[seen], density


@pytest.mark.parametrize("kind_spread", [0.0, 0.1])
@pytest.mark.parametrize("seed", [1, 2])
def test_it_is_the_exact_posterior_of_its_model(monkeypatch: pytest.MonkeyPatch, kind_spread: float, seed: int) -> None:
    """At one point of the grid the closed form equals conditioning one big normal distribution."""
    monkeypatch.setattr(mixed, "ARM_SPREADS", (1.5,))
    monkeypatch.setattr(mixed, "KIND_SPREADS", (kind_spread,))
    monkeypatch.setattr(mixed, "SLOPES", ((0.03, 0.5),))
    monkeypatch.setattr(mixed, "SLOPE_VARIANCES", np.array([0.05**2, 0.3**2]))
    data = some_cells(seed)
    arms, kinds = data.labels.shape
    fit = fit_mixed(data, level=LEVEL, bonus=BONUS)
    mean, posterior, _ = dense(
        data, covariance(data, 0.15**2, kind_spread**2, np.array([0.05**2, 0.3**2])), np.array([0.03, 0.5])
    )
    assert fit.kind_mean == pytest.approx(mean.reshape(arms, kinds), abs=1e-6)
    assert fit.kind_variance == pytest.approx(np.diag(posterior).reshape(arms, kinds), abs=1e-6)
    by_cell = posterior.reshape(arms, kinds, arms, kinds)
    overall = np.einsum("c,acbd,d->ab", data.traffic, by_cell, data.traffic)
    assert fit.mean == pytest.approx(mean.reshape(arms, kinds) @ data.traffic, abs=1e-6)
    assert fit.variance == pytest.approx(np.diag(overall), abs=1e-6)
    # The contrast: what is open of the arm itself, and of the rest the excess over the covariance with other arms.
    alone = dense(data, covariance(data, 0.15**2, kind_spread**2, np.zeros(2), shared=False), np.array([0.03, 0.5]))[1]
    of_arms = np.einsum("c,acad,d->a", data.traffic, alone.reshape(arms, kinds, arms, kinds), data.traffic)
    assert fit.contrast_variance == pytest.approx(contrast(overall, of_arms), abs=1e-6)
    for kind in range(kinds):
        of_kind = np.diag(alone).reshape(arms, kinds)[:, kind]
        assert fit.kind_contrast[:, kind] == pytest.approx(contrast(by_cell[:, kind, :, kind], of_kind), abs=1e-6)


def contrast(together: Floats, alone: Floats) -> Floats:
    """Return the variance of each arm without what all share, from their covariance and what is each arm's own."""
    others = (together.sum(axis=1) - np.diag(together)) / (len(together) - 1)
    return np.asarray(alone + np.maximum(np.diag(together) - alone - others, 0))


def test_the_grid_is_weighed_by_its_marginal_likelihood() -> None:
    """Averages over the grid are those of the density of the ratings at each point, computed without collapsing."""
    for seed in range(3):
        data = some_cells(seed)
        spreads = [BONUS * spread for spread in mixed.ARM_SPREADS]
        grid = list(product(mixed.KIND_SPREADS, spreads, mixed.SLOPES))
        densities = np.array(
            [dense(data, covariance(data, t**2, g**2, mixed.SLOPE_VARIANCES), np.array(s))[2] for g, t, s in grid]
        )
        weights = np.exp(densities - densities.max())
        weights /= weights.sum()
        fit = fit_mixed(data, level=LEVEL, bonus=BONUS)
        kind_squares, arm_squares = np.array([(g**2, t**2) for g, t, _ in grid]).T
        assert fit.kind_spread**2 == pytest.approx(weights @ kind_squares, rel=1e-4)
        assert fit.arm_spread**2 == pytest.approx(weights @ arm_squares, rel=1e-4)
        assert fit.context == pytest.approx(weights @ (kind_squares > 0), rel=1e-4)
        slopes = np.array([slopes for _, _, slopes in grid])
        slope = weights @ slopes
        slope_variance = mixed.SLOPE_VARIANCES + weights @ (slopes - slope) ** 2
        prior = covariance(data, fit.arm_spread**2, fit.kind_spread**2, slope_variance)
        mean, posterior, _ = dense(data, prior, slope)
        assert fit.kind_mean.ravel() == pytest.approx(mean, abs=1e-5)
        assert fit.kind_variance.ravel() == pytest.approx(np.diag(posterior), abs=1e-5)


def test_an_arm_that_saw_hard_prompts_only_is_not_blamed_for_them() -> None:
    """Equal on the hard kind means about equal, though one arm's average is far lower."""
    labels = np.array([[0, 60.0, 20.0], [0, 0.0, 20.0]])
    means = np.array([[0, 0.95, 0.4], [0, 0.0, 0.4]])
    fit = fit_mixed(cells(labels, means), level=LEVEL, bonus=BONUS)
    assert abs(fit.mean[0] - fit.mean[1]) < 0.1


def test_context_counts_as_far_as_the_evidence_carries_it() -> None:
    """Arms that swap places between kinds raise the belief in context; arms that do not, lower it."""
    labels = np.full((2, 3), 100.0)
    labels[:, 0] = 0
    swapped = fit_mixed(cells(labels, np.array([[0, 0.9, 0.5], [0, 0.5, 0.9]])), level=LEVEL, bonus=BONUS)
    parallel = fit_mixed(cells(labels, np.array([[0, 0.9, 0.5], [0, 0.8, 0.4]])), level=LEVEL, bonus=BONUS)
    assert swapped.context > 0.95 > parallel.context
    assert swapped.kind_mean[0, 1] > swapped.kind_mean[1, 1] + 0.2
    assert swapped.kind_mean[0, 2] < swapped.kind_mean[1, 2] - 0.2


def test_what_a_kind_says_of_an_arm_holds_for_similar_kinds() -> None:
    """Unrated kinds follow a similar one more closely than a distant one; the unknown kind follows neither."""
    labels = np.zeros((2, 5))
    labels[:, 1:3] = 50
    kernel = np.eye(5)
    kernel[1, 3] = kernel[3, 1] = 0.9
    kernel[1, 4] = kernel[4, 1] = 0.1
    fit = fit_mixed(
        cells(labels, np.array([[0, 0.9, 0.4, 0, 0], [0, 0.4, 0.9, 0, 0]]), kernel=kernel), level=LEVEL, bonus=BONUS
    )
    lead = fit.kind_mean[0] - fit.kind_mean[1]
    assert lead[1] > lead[3] > lead[4] > 0
    assert abs(lead[0]) < 0.05
    assert fit.kind_variance[0, 4] > fit.kind_variance[0, 3] > fit.kind_variance[0, 1]


@pytest.mark.parametrize(("which", "spread", "expected"), [(0, 2.0, 0.0175), (1, 0.3, 0.2)])
def test_the_priors_by_price_and_benchmark_are_hedges_that_ratings_overrule(
    which: int, spread: float, expected: float
) -> None:
    """Expensive arms, and those with good benchmarks, start ahead; fifty ratings of the opposite turn it round."""
    covariates = np.zeros((3, 2))
    covariates[:, which] = -spread, 0.0, spread
    nothing = fit_mixed(cells(np.zeros((3, 1)), np.zeros((3, 1)), covariates), level=LEVEL, bonus=BONUS)
    assert nothing.mean[0] < nothing.mean[1] < nothing.mean[2]
    assert nothing.slopes[which] == pytest.approx(expected)
    rated = cells(np.full((3, 1), 17.0), np.array([[0.9], [0.75], [0.5]]), covariates)
    against = fit_mixed(rated, level=LEVEL, bonus=BONUS)
    assert against.mean[0] > against.mean[1] > against.mean[2]
    assert against.slopes[which] < expected * 0.6


def test_a_sole_arm_and_many_arms_are_fine() -> None:
    """One arm, no kind, fifty arms, no ratings: always finite."""
    for arms, kinds in ((1, 1), (50, 9)):
        fit = fit_mixed(cells(np.zeros((arms, kinds)), np.zeros((arms, kinds))), level=LEVEL, bonus=BONUS)
        assert np.isfinite(fit.mean).all()
        assert (fit.kind_variance > 0).all()
        assert fit.mean == pytest.approx(LEVEL)


def test_what_more_scores_cannot_tell_is_kept_apart() -> None:
    """A judge with many scores leaves its bias open: that is no variance that asking it again would remove."""
    none, many = np.zeros((3, 2)), np.full((3, 2), 2000.0)
    means = np.full((3, 2), 0.5)
    judged = SourceCells(Source.JUDGE, many, many * means, (many * means).sum(axis=1))
    fit = fit_mixed(replace(cells(none, means), others=(judged,)), level=LEVEL, bonus=BONUS)
    (source,) = fit.sources
    assert (source.bias_sd**2 / 2 < fit.bias_variance).all()
    assert (fit.bias_variance < source.bias_sd**2).all()
    assert (fit.contrast_variance < fit.bias_variance / 5).all()
    assert (fit.variance > fit.bias_variance).all()
    assert (fit_mixed(cells(many, means), level=LEVEL, bonus=BONUS).bias_variance == 0).all()
