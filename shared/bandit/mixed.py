"""Bayesian mixed model on sums: quality of each arm for each kind of prompt.

For a rating r of arm a on a prompt of kind c (`kinds.py`; c = 0: kind not known):

    r = b_c + s x_a + u_a + g_ac + e,         e ~ N(0, sigma_a^2)
    b    = shared level ~ N(OPTIMISTIC_PRIOR, .2^2) + difficulty ~ N(0, .15^2 k)
    s    ~ slopes of price and benchmark; half a chance each that one matters: N(0, .02^2) or N(.035, .02^2) quality
           per e-fold of price, N(0, .2^2) or N(.4, .2^2) per unit of a public index
    u_a  ~ N(0, t_A^2),              t_A in EXPLORATION_BONUS x {.6, 1, 1.6, 3}
    g_a  ~ N(0, t_g^2 (.9 k + .1 I)),  t_g in {0, .05, .15, .35};   g_a0 = 0
    x_a  = ln(expected cost of an answer), and index of quality in public benchmarks, each less its mean over the arms;
           0 where unknown

with k the similarity of kinds (`kinship.py`), and 0 between the unknown kind and any other.

Why: context mostly predicts how hard a prompt is. Difficulty is shared by all arms and cancels in the argmax, so it is
learned once and not per arm. What a kind says of one arm holds for similar kinds too, and is shrunk by its own
estimated variance, to nothing where the evidence does not carry it. The price prior is a hedge of two beliefs, since
cheap models may be the good ones.

Given sigma and a point of the grid (t_A, t_g, slope) everything is normal and solved in closed form. The points are
weighed by their marginal likelihood; then the model is solved once more with the mean squares of t_A and t_g and the
mean and variance of the slope. Cells (a, c) are sufficient. With W_a the precision of the cells of arm a (for ratings
alone diag(n_a) / sigma_a^2; `evidence.py` adds other sources), y_a their means and C = t_g^2 (.9 k + .1 I) + t_A^2 11':

    H_a = (I + W_a C)^-1 W_a                 precision of the cells' means once u and g are integrated out
    P   = P0 + sum_a T_a' H_a T_a,  T_a = [I | 1 x_a'];     z = (b, s) has mean m0 + P^-1 sum_a T_a' H_a (y_a - T_a m0)
    theta_a = T_a z + C H_a (y_a - T_a z)
    V_a     = C - C H_a C + D_a P^-1 D_a',                  D_a = (I - C H_a) T_a

The part of V_a that z leaves open is not optional: one arm may have served one kind only, its quality then looks like
the kind's ease, and without it the arm would be locked out elsewhere. The draws leave out what is open for all arms
alike, which no try of one arm against another can tell.

References: Gelman & Hill (2007) on varying intercepts; Rasmussen & Williams (2006), chapter 2. sigma_a^2 is the
residual variance about arm plus kind, shrunk towards that of all arms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from shared.bandit.evidence import SourceCells, SourceFit, pool

Floats = NDArray[np.float64]

LEVEL_SD = 0.2
DIFFICULTY_SD = 0.15
PRICE_SLOPES, PRICE_SLOPE_SD = (0.0, 0.035), 0.02  # means, equally likely
BENCHMARK_SLOPES, BENCHMARK_SLOPE_SD = (0.0, 0.4), 0.2
SLOPES = tuple(product(PRICE_SLOPES, BENCHMARK_SLOPES))
SLOPE_VARIANCES = np.square((PRICE_SLOPE_SD, BENCHMARK_SLOPE_SD))
ARM_SPREADS = (0.6, 1.0, 1.6, 3.0)  # t_A in units of EXPLORATION_BONUS
KIND_SPREADS = (0.0, 0.05, 0.15, 0.35)  # t_g
OWN_SHARE = 0.1  # of t_g^2, what a kind shares with no other
SMALLEST_ARM_SPREAD = 0.01  # below it ratings could not tell the arms apart any more
_JITTER = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Evidence on K arms in C kinds of prompt; column 0 is the unknown kind.

    Attributes:
        ratings: of users.
        covariates: of the arms: centred logarithm of the expected cost, and centred index of benchmarks, (K, 2).
        traffic: share of each kind in all requests, (C,), summing to 1.
        kernel: similarity of the kinds, (C, C); 1 on the diagonal, 0 between column 0 and any other.
        others: scores of other sources.
    """

    ratings: SourceCells
    covariates: Floats
    traffic: Floats
    kernel: Floats
    others: tuple[SourceCells, ...] = ()

    @property
    def labels(self) -> Floats:
        """Number of scores of all sources, (K, C)."""
        return np.asarray(sum((one.labels for one in self.others), self.ratings.labels))


@dataclass(frozen=True, slots=True, eq=False)
class MixedFit:
    """Posterior of quality.

    Attributes:
        mean, variance: over the traffic, (K,).
        contrast_variance: the same variance without what all arms share, and without biases of sources, (K,).
        bias_variance: what biases add to it, (K,).
        kind_mean, kind_variance, kind_contrast: by kind, (K, C).
        noise: variance of one rating, (K,).
        arm_spread, kind_spread: root of the posterior mean square of t_A and t_g.
        slopes: posterior mean of the slopes, of price and benchmark.
        context: posterior probability that t_g is above 0.
        sources: of sources other than users.
    """

    mean: Floats
    variance: Floats
    contrast_variance: Floats
    bias_variance: Floats
    kind_mean: Floats
    kind_variance: Floats
    kind_contrast: Floats
    noise: Floats
    arm_spread: float
    kind_spread: float
    slopes: tuple[float, ...]
    context: float
    sources: tuple[SourceFit, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Observed:
    """What the grid is weighed on: the cells' precisions W, (K, C, C), and their means, (K, C)."""

    precision: Floats
    means: Floats
    seen: NDArray[np.bool_]
    covariates: Floats

    def residual(self, slopes: Floats, level: float | Floats) -> Floats:
        """Return the cells' means less what `level` and the slopes explain; 0 where nothing was seen."""
        return np.asarray(np.where(self.seen, self.means - level - (self.covariates @ slopes)[:, None], 0.0))


def fit_mixed(cells: Cells, *, level: float, bonus: float) -> MixedFit:
    """Return the posterior of every arm's quality; `level` is OPTIMISTIC_PRIOR, `bonus` EXPLORATION_BONUS."""
    pooled = pool(cells.ratings, cells.others)
    seen = cells.labels > 0
    regular = pooled.precision + np.where(seen, 0.0, 1.0)[:, :, None] * np.eye(seen.shape[1])
    means = np.linalg.solve(regular, pooled.information[..., None])[..., 0]
    observed = _Observed(pooled.precision, np.asarray(means, dtype=np.float64), seen, cells.covariates)
    shared = (1 - OWN_SHARE) * cells.kernel + OWN_SHARE * np.eye(len(cells.kernel))
    shared[0, 0] = 0.0
    arm_spreads = np.array([max(bonus * spread, SMALLEST_ARM_SPREAD) for spread in ARM_SPREADS])
    weights = np.stack(
        [_log_weights(observed, _prior(cells.kernel, SLOPE_VARIANCES), spread**2 * shared, arm_spreads, level)
         for spread in KIND_SPREADS]
    )  # fmt: skip
    weights = np.exp(weights - weights.max())
    weights /= weights.sum()
    by_kind, by_arm, by_slope = weights.sum(axis=(1, 2)), weights.sum(axis=(0, 2)), weights.sum(axis=(0, 1))
    kind_variance, arm_variance = float(by_kind @ np.square(KIND_SPREADS)), float(by_arm @ np.square(arm_spreads))
    slopes = by_slope @ SLOPES
    slope_variances = SLOPE_VARIANCES + by_slope @ (np.array(SLOPES) - slopes) ** 2
    covariance = kind_variance * shared + arm_variance
    prior = _prior(cells.kernel, slope_variances)
    theta, gain, open_parts, found = _solve(observed, prior, covariance, level, slopes)
    whole, kind_whole, contrast, kind_contrast = _variances(covariance, gain, open_parts, cells.traffic)
    learnable, kind_learnable = contrast, kind_contrast
    if cells.others:
        unbiased = replace(observed, precision=pooled.unbiased)
        _, gain, open_parts, _ = _solve(unbiased, prior, covariance, level, slopes)
        _, _, learnable, kind_learnable = _variances(covariance, gain, open_parts, cells.traffic)
    return MixedFit(
        mean=theta @ cells.traffic,
        variance=whole,
        contrast_variance=learnable,
        bias_variance=np.maximum(contrast - learnable, 0.0),
        kind_mean=theta,
        kind_variance=kind_whole,
        kind_contrast=kind_learnable,
        noise=pooled.noise,
        arm_spread=arm_variance**0.5,
        kind_spread=kind_variance**0.5,
        slopes=tuple(found.tolist()),
        context=float(by_kind[np.array(KIND_SPREADS) > 0].sum()),
        sources=pooled.sources,
    )


def _prior(kernel: Floats, slope_variances: Floats) -> Floats:
    """Return the prior covariance of z = (b, s), (C + S, C + S)."""
    size = len(kernel)
    prior = np.diag(np.append(np.zeros(size), slope_variances))
    prior[:size, :size] = LEVEL_SD**2 + DIFFICULTY_SD**2 * kernel
    return prior + _JITTER * np.eye(len(prior))


def _precisions(precision: Floats, covariance: Floats) -> tuple[Floats, Floats]:
    """Return (I + W C)^-1 W of each arm, (K, C, C), and the log determinant of I + W C, (K,).

    It is (W^-1 + C)^-1 where the arm was seen, and 0 elsewhere.
    """
    found, log_scales = np.zeros_like(precision), np.zeros(len(precision))
    for arm, own in enumerate(precision):
        seen = np.flatnonzero(own.diagonal())
        if not len(seen):
            continue
        cells = np.ix_(seen, seen)
        together = np.linalg.inv(own[cells]) + covariance[cells]
        found[arm][cells] = np.linalg.inv(together)
        log_scales[arm] = _log_determinant(together) + _log_determinant(own[cells])
    return (found + found.transpose(0, 2, 1)) / 2, log_scales


def _log_determinant(matrices: Floats) -> Floats:
    """Return the log determinant of positive definite matrices, (..., n, n)."""
    return np.asarray(np.linalg.slogdet(matrices)[1])


def _evidence(precisions: Floats, covariates: Floats) -> Floats:
    """Return sum_a T_a' H_a T_a, (C + S, C + S)."""
    rows, size = precisions.sum(axis=2), precisions.shape[1]
    evidence = np.empty((size + covariates.shape[1],) * 2)
    evidence[:size, :size] = precisions.sum(axis=0)
    evidence[:size, size:] = rows.T @ covariates
    evidence[size:, :size] = evidence[:size, size:].T
    evidence[size:, size:] = covariates.T @ (rows.sum(axis=1)[:, None] * covariates)
    return evidence


def _log_weights(observed: _Observed, prior: Floats, kinds: Floats, arm_spreads: Floats, level: float) -> Floats:
    """Return the log marginal likelihood for each arm spread and slopes, (A, 4), at one covariance of the kinds.

    u_a takes g h h' from the precision H_a of the kinds alone, with h = H_a 1 and g = 1 / (1 / t_A^2 + 1' H_a 1).
    """
    precisions, log_scales = _precisions(observed.precision, kinds)
    rows, covariates = precisions.sum(axis=2), observed.covariates
    totals = rows.sum(axis=1)
    gains = 1 / (1 / arm_spreads[:, None] ** 2 + totals)  # (A, K)
    root = np.linalg.cholesky(prior)
    whole = root.T @ _evidence(precisions, covariates) @ root + np.eye(len(prior))
    means = np.concatenate((rows, totals[:, None] * covariates), axis=1) @ root  # T_a' h, (K, C + S)
    inner = whole - (gains[:, None] * means.T) @ means  # (A, C + S, C + S)
    residuals = np.stack([observed.residual(np.array(slopes), level) for slopes in SLOPES])  # (4, K, C)
    weighed = (precisions @ residuals.transpose(1, 2, 0)).transpose(2, 0, 1)
    sums = (rows * residuals).sum(axis=2)  # h' r, (4, K)
    right = np.concatenate((weighed.sum(axis=1), weighed.sum(axis=2) @ covariates), axis=1) @ root
    rights = right - (gains[:, None] * sums) @ means  # (A, 4, C + S)
    explained = (rights * np.linalg.solve(inner, rights.transpose(0, 2, 1)).transpose(0, 2, 1)).sum(axis=2)
    squares = (residuals * weighed).sum(axis=(1, 2)) - gains @ (sums**2).T  # (A, 4)
    scale = log_scales.sum() + np.log1p(arm_spreads[:, None] ** 2 * totals).sum(axis=1) + _log_determinant(inner)
    return np.asarray(-0.5 * (scale[:, None] + squares - explained))


def _solve(
    observed: _Observed, prior: Floats, covariance: Floats, level: float, slopes: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return theta (K, C), C H (K, C, C), D P^-1/2 (K, C, C + S), and the posterior mean of the slopes, (S,)."""
    precisions, _ = _precisions(observed.precision, covariance)
    covariates, size = observed.covariates, len(covariance)
    root = np.linalg.cholesky(prior)
    inner = root.T @ _evidence(precisions, covariates) @ root + np.eye(len(prior))
    half = np.linalg.solve(np.linalg.cholesky(inner), root.T)  # P^-1 = half' half
    weighed = (precisions @ observed.residual(slopes, level)[..., None])[..., 0]
    right = np.append(weighed.sum(axis=0), weighed.sum(axis=1) @ covariates)
    found = half.T @ (half @ right)
    levels, slopes = level + found[:size], slopes + found[size:]
    gain = covariance @ precisions
    residual = observed.residual(slopes, levels)
    theta = levels + (covariates @ slopes)[:, None] + (gain @ residual[..., None])[..., 0]
    derivative = np.empty((*theta.shape, len(prior)))
    derivative[..., :size] = np.eye(size) - gain
    derivative[..., size:] = covariates[:, None] * (1 - gain.sum(axis=2))[..., None]
    return theta, gain, derivative @ half.T, slopes


def _variances(
    covariance: Floats, gain: Floats, open_parts: Floats, traffic: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the variance over the traffic, (K,), and by kind, (K, C); then both without what all arms share."""
    together = covariance @ traffic
    overall = traffic @ together - (traffic @ gain) @ together  # of C - C H C
    diagonal = covariance.diagonal() - (gain * covariance).sum(axis=2)
    shared, contrast = _spread((traffic @ open_parts)[:, None])
    shared_kind, contrast_kind = _spread(open_parts)
    found = overall + shared[:, 0], diagonal + shared_kind, overall + contrast[:, 0], diagonal + contrast_kind
    one, two, three, four = (np.maximum(each, _JITTER) for each in found)
    return one, two, three, four


def _spread(open_parts: Floats) -> tuple[Floats, Floats]:
    """Return the variance of (K, C, Z) parts, whole and without the mean covariance with the other arms, (K, C)."""
    whole = (open_parts**2).sum(axis=2)
    if len(open_parts) < 2:
        return whole, whole
    common = ((open_parts * open_parts.sum(axis=0)).sum(axis=2) - whole) / (len(open_parts) - 1)
    return whole, np.maximum(whole - common, 0.0)
