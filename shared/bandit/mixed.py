"""Bayesian mixed model on sums: quality of each arm for each kind of prompt.

For a rating r of arm a on a prompt of kind c (`kinds.py`; c = 0: kind not known):

    r = b_c + s lp_a + u_a + g_ac + e,        e ~ N(0, sigma_a^2)
    b    = shared level ~ N(OPTIMISTIC_PRIOR, .2^2) + difficulty ~ N(0, .15^2 k)
    s    ~ price slope, quality per e-fold of price; half a chance each for N(0, .02^2) and N(.035, .02^2)
    u_a  ~ N(0, t_A^2),              t_A in EXPLORATION_BONUS x {.6, 1, 1.6, 3}
    g_a  ~ N(0, t_g^2 (.9 k + .1 I)),  t_g in {0, .05, .15, .35};   g_a0 = 0
    lp_a = ln(expected cost of an answer) - mean over arms, 0 where unknown

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
    P   = P0 + sum_a T_a' H_a T_a,  T_a = [I | lp_a 1];     z = (b, s) has mean m0 + P^-1 sum_a T_a' H_a (y_a - T_a m0)
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

import numpy as np
from numpy.typing import NDArray

from shared.bandit.evidence import SourceCells, SourceFit, pool

Floats = NDArray[np.float64]

LEVEL_SD = 0.2
DIFFICULTY_SD = 0.15
SLOPES = (0.0, 0.035)  # means of the price slope, equally likely
SLOPE_SD = 0.02
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
        log_price: centred logarithm of the expected cost, (K,).
        traffic: share of each kind in all requests, (C,), summing to 1.
        kernel: similarity of the kinds, (C, C); 1 on the diagonal, 0 between column 0 and any other.
        others: scores of other sources.
    """

    ratings: SourceCells
    log_price: Floats
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
        price_slope: posterior mean of the slope.
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
    price_slope: float
    context: float
    sources: tuple[SourceFit, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Observed:
    """What the grid is weighed on: the cells' precisions W, (K, C, C), and their means, (K, C)."""

    precision: Floats
    means: Floats
    seen: NDArray[np.bool_]
    log_price: Floats

    def residual(self, slope: float, level: float | Floats) -> Floats:
        """Return the cells' means less what `level` and the slope explain; 0 where nothing was seen."""
        return np.asarray(np.where(self.seen, self.means - level - slope * self.log_price[:, None], 0.0))


def fit_mixed(cells: Cells, *, level: float, bonus: float) -> MixedFit:
    """Return the posterior of every arm's quality; `level` is OPTIMISTIC_PRIOR, `bonus` EXPLORATION_BONUS."""
    pooled = pool(cells.ratings, cells.others)
    seen = cells.labels > 0
    regular = pooled.precision + np.where(seen, 0.0, 1.0)[:, :, None] * np.eye(seen.shape[1])
    means = np.linalg.solve(regular, pooled.information[..., None])[..., 0]
    observed = _Observed(pooled.precision, np.asarray(means, dtype=np.float64), seen, cells.log_price)
    shared = (1 - OWN_SHARE) * cells.kernel + OWN_SHARE * np.eye(len(cells.kernel))
    shared[0, 0] = 0.0
    arm_spreads = np.array([max(bonus * spread, SMALLEST_ARM_SPREAD) for spread in ARM_SPREADS])
    weights = np.stack(
        [_log_weights(observed, _prior(cells.kernel, SLOPE_SD**2), spread**2 * shared, arm_spreads, level)
         for spread in KIND_SPREADS]
    )  # fmt: skip
    weights = np.exp(weights - weights.max())
    weights /= weights.sum()
    by_kind, by_arm, by_slope = weights.sum(axis=(1, 2)), weights.sum(axis=(0, 2)), weights.sum(axis=(0, 1))
    kind_variance, arm_variance = float(by_kind @ np.square(KIND_SPREADS)), float(by_arm @ np.square(arm_spreads))
    slope = float(by_slope @ SLOPES)
    slope_variance = SLOPE_SD**2 + float(by_slope @ (np.array(SLOPES) - slope) ** 2)
    covariance = kind_variance * shared + arm_variance
    prior = _prior(cells.kernel, slope_variance)
    theta, *parts, price_slope = _solve(observed, prior, covariance, level, slope)
    whole, kind_whole, contrast, kind_contrast = _variances(parts[0], parts[1], cells.traffic)
    learnable, kind_learnable = contrast, kind_contrast
    if cells.others:
        _, *parts, _ = _solve(replace(observed, precision=pooled.unbiased), prior, covariance, level, slope)
        _, _, learnable, kind_learnable = _variances(parts[0], parts[1], cells.traffic)
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
        price_slope=price_slope,
        context=float(by_kind[np.array(KIND_SPREADS) > 0].sum()),
        sources=pooled.sources,
    )


def _prior(kernel: Floats, slope_variance: float) -> Floats:
    """Return the prior covariance of z = (b, s), (C + 1, C + 1)."""
    size = len(kernel)
    prior = np.zeros((size + 1, size + 1))
    prior[:size, :size] = LEVEL_SD**2 + DIFFICULTY_SD**2 * kernel
    prior[size, size] = slope_variance
    return prior + _JITTER * np.eye(size + 1)


def _precisions(precision: Floats, covariance: Floats) -> tuple[Floats, Floats]:
    """Return (I + W C)^-1 W of each arm, (K, C, C), and the log determinant of I + W C, (K,)."""
    marginals, log_scales = np.zeros_like(precision), np.zeros(len(precision))
    rated = np.flatnonzero(precision.any(axis=(1, 2)))
    if len(rated):
        inner = precision[rated] @ covariance + np.eye(precision.shape[1])
        log_scales[rated] = np.linalg.slogdet(inner)[1]
        found = np.linalg.solve(inner, precision[rated])
        marginals[rated] = (found + found.transpose(0, 2, 1)) / 2
    return marginals, log_scales


def _log_weights(observed: _Observed, prior: Floats, kinds: Floats, arm_spreads: Floats, level: float) -> Floats:
    """Return the log marginal likelihood for each arm spread and slope, (A, 2), at one covariance of the kinds."""
    precisions, log_scales = _precisions(observed.precision, kinds)
    rows, log_price = precisions.sum(axis=2), observed.log_price
    totals, size = rows.sum(axis=1), rows.shape[1]
    gains = 1 / (1 / arm_spreads[:, None] ** 2 + totals)  # (A, K)
    evidence = np.zeros((len(arm_spreads), size + 1, size + 1))
    evidence[:, :size, :size] = precisions.sum(axis=0) - np.einsum("ak,kc,kd->acd", gains, rows, rows, optimize=True)
    row_sums = rows - (gains * totals)[..., None] * rows  # H 1, (A, K, C)
    evidence[:, :size, size] = evidence[:, size, :size] = np.einsum("k,akc->ac", log_price, row_sums)
    evidence[:, size, size] = row_sums.sum(axis=2) @ log_price**2
    root = np.linalg.cholesky(prior)
    inner = root.T @ evidence @ root + np.eye(size + 1)
    scale = log_scales.sum() + np.log1p(arm_spreads[:, None] ** 2 * totals).sum(axis=1) + np.linalg.slogdet(inner)[1]
    weights = []
    for slope in SLOPES:
        residual = observed.residual(slope, level)
        weighed = (precisions @ residual[..., None])[..., 0]
        weighed = weighed - (gains * (rows * residual).sum(axis=1))[..., None] * rows  # H r, (A, K, C)
        right = np.concatenate((weighed.sum(axis=1), (weighed.sum(axis=2) @ log_price)[:, None]), axis=1) @ root
        explained = (right * np.linalg.solve(inner, right[..., None])[..., 0]).sum(axis=1)
        weights.append(-0.5 * (scale + (residual * weighed).sum(axis=(1, 2)) - explained))
    return np.stack(weights, axis=1)


def _solve(
    observed: _Observed, prior: Floats, covariance: Floats, level: float, slope: float
) -> tuple[Floats, Floats, Floats, float]:
    """Return theta (K, C), C - C H C (K, C, C), D P^-1/2 (K, C, C + 1), and the posterior mean of the slope."""
    precisions, _ = _precisions(observed.precision, covariance)
    rows, log_price = precisions.sum(axis=2), observed.log_price
    size = rows.shape[1]
    evidence = np.empty((size + 1, size + 1))
    evidence[:size, :size] = precisions.sum(axis=0)
    evidence[:size, size] = evidence[size, :size] = log_price @ rows
    evidence[size, size] = rows.sum(axis=1) @ log_price**2
    root = np.linalg.cholesky(prior)
    inner = root.T @ evidence @ root + np.eye(size + 1)
    half = np.linalg.solve(np.linalg.cholesky(inner), root.T)  # P^-1 = half' half
    weighed = (precisions @ observed.residual(slope, level)[..., None])[..., 0]
    right = np.append(weighed.sum(axis=0), weighed.sum(axis=1) @ log_price)
    found = half.T @ (half @ right)
    levels, price_slope = level + found[:size], slope + float(found[size])
    gain = covariance @ precisions
    residual = observed.residual(price_slope, levels)
    theta = levels + price_slope * log_price[:, None] + (gain @ residual[..., None])[..., 0]
    derivative = np.empty((*rows.shape, size + 1))
    derivative[..., :size] = np.eye(size) - gain
    derivative[..., size] = log_price[:, None] * (1 - gain.sum(axis=2))
    return theta, covariance - gain @ covariance, derivative @ half.T, price_slope


def _variances(own: Floats, open_parts: Floats, traffic: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the variance over the traffic, (K,), and by kind, (K, C); then both without what all arms share."""
    overall = np.einsum("c,kcd,d->k", traffic, own, traffic)
    shared, contrast = _spread(np.einsum("c,kcz->kz", traffic, open_parts)[:, None])
    shared_kind, contrast_kind = _spread(open_parts)
    diagonal = np.diagonal(own, axis1=1, axis2=2)
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
