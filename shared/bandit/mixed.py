"""Bayesian mixed model on sums: quality of each arm for each cluster of prompts.

For a rating r of arm a on a prompt of cluster c (clusters of the traffic; c = 0: cluster not known):

    r = b_c + s lp_a + u_a + g_ac + e,        e ~ N(0, sigma_a^2)
    b_c  = shared level ~ N(OPTIMISTIC_PRIOR, .2^2) + difficulty of cluster c ~ N(0, .15^2)
    s    ~ price slope, quality per e-fold of price; half a chance each for N(0, .02^2) and N(.035, .02^2)
    u_a  ~ N(0, t_A^2),   t_A in EXPLORATION_BONUS x {.6, 1, 1.6, 3}
    g_ac ~ N(0, t_g^2),   t_g in {0, .04, .1};   g_a0 = 0
    lp_a = ln(expected cost of an answer) - mean over arms, 0 where unknown

Why: context mostly predicts how hard a prompt is. Difficulty is shared by all arms and cancels in the argmax, so it is
learned once and not per arm; what a cluster says of one arm is shrunk by its own estimated variance, to nothing where
the evidence does not carry it. The price prior is a hedge of two beliefs, since cheap models may be the good ones.

Exact: given sigma and a point of the grid everything is normal and solved in closed form; grid points are weighed by
their marginal likelihood. Cells (a, c) are sufficient, so the state is a handful of commuting sums. With n_ac ratings
of mean y_ac,

    v = n / sigma^2;  p = v / (1 + v t_g^2);  k = v t_g^2 / (1 + v t_g^2);  h_a = 1 / (1 / t_A^2 + sum_c p_ac)
    H_a = diag(p_a) - h_a p_a p_a'              precision of the cells' means once u and g are integrated out
    P = P0 + sum_a T_a' H_a T_a,  T_a = [I | lp_a 1];   z = (b, s) has mean P^-1 (P0 m0 + sum_a T_a' H_a y_a)
    m_ac = b_c + lp_a s;  u_a = h_a sum_c p_ac (y_ac - m_ac);  theta_ac = (1 - k)(m_ac + u_a) + k y_ac

and the variance of theta adds to its own part, (1-k)^2 h + (1-k) t_g^2, what b and s leave open. That second part is
not optional: one arm may have served one cluster only, its quality then looks like the cluster's ease, and without it
the arm would be locked out elsewhere.

References: Gelman & Hill (2007) on varying intercepts; Robinson (1991) on BLUP. sigma_a^2 is the residual variance
about arm plus cluster, shrunk towards that of all arms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.bandit.policy import BanditSettings

Floats = NDArray[np.float64]

LEVEL_SD = 0.2
DIFFICULTY_SD = 0.15
SLOPES = ((0.0, 0.02), (0.035, 0.02))  # mean and standard deviation of the price slope, equally likely
ARM_SPREADS = (0.6, 1.0, 1.6, 3.0)  # t_A in units of EXPLORATION_BONUS
CLUSTER_SPREADS = (0.0, 0.04, 0.1)  # t_g
SMALLEST_ARM_SPREAD = 0.01  # below it ratings could not tell the arms apart any more
NOISE_SD = 0.35  # of one rating, before there are any


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Evidence: (K, C) ratings and their sums by arm and cluster, (K,) the others; column 0: unknown cluster.

    `traffic` is the share of each cluster in all requests, (C,), summing to 1.
    """

    labels: Floats
    scores: Floats
    squares: Floats
    log_price: Floats
    traffic: Floats


@dataclass(frozen=True, slots=True, eq=False)
class MixedFit:
    """Posterior of quality: (K,) over the traffic, and (K, C) by cluster; variances include what the grid leaves open.

    `price_slope` is the posterior mean of the slope; `context` the posterior probability that t_g is above 0.
    """

    mean: Floats
    variance: Floats
    cluster_mean: Floats
    cluster_variance: Floats
    price_slope: float
    context: float


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """(G, 1) spreads, and what follows from them; see the module."""

    arm_spread: Floats
    cluster_variance: Floats  # (G, 1, C), 0 for the unknown cluster
    precision: Floats  # p, (G, K, C)
    own: Floats  # k, (G, K, C)
    gain: Floats  # h, (G, K)
    log_scale: Floats  # (G,)


def fit_mixed(cells: Cells, settings: BanditSettings) -> MixedFit:
    """Return the posterior of every arm's quality."""
    noise = noise_variance(cells, settings)
    means = np.divide(cells.scores, cells.labels, out=np.zeros_like(cells.scores), where=cells.labels > 0)
    grid = _grid(cells.labels / noise[:, None], settings.exploration_bonus)
    solved = [_solve(grid, means, cells.log_price, slope, settings.optimistic_prior) for slope in SLOPES]
    weights = np.concatenate([log_weight for _, _, log_weight in solved])
    weights = np.exp(weights - weights.max())
    weights /= weights.sum()
    parts = [_beliefs(grid, means, cells, coefficients, covariance) for coefficients, covariance, _ in solved]
    mean, variance, by_cluster, cluster_variance = (np.concatenate(column) for column in zip(*parts, strict=True))
    w, w3 = weights[:, None], weights[:, None, None]
    overall, each = (w * mean).sum(axis=0), (w3 * by_cluster).sum(axis=0)
    slopes = np.concatenate([coefficients[:, -1] for coefficients, _, _ in solved])
    with_context = np.tile(grid.cluster_variance.max(axis=(1, 2)) > 0, len(SLOPES))
    return MixedFit(
        mean=overall,
        variance=(w * (variance + (mean - overall) ** 2)).sum(axis=0),
        cluster_mean=each,
        cluster_variance=(w3 * (cluster_variance + (by_cluster - each) ** 2)).sum(axis=0),
        price_slope=float(weights @ slopes),
        context=float(weights[with_context].sum()),
    )


def noise_variance(cells: Cells, settings: BanditSettings) -> Floats:
    """Return the variance of one rating of each arm about arm plus cluster, shrunk towards that of all arms."""
    n, r = cells.labels, cells.scores
    total = n.sum(axis=1)
    divisor = np.maximum(total, 1e-12)
    mean = r.sum(axis=1) / divisor
    difficulty = (r - n * mean[:, None]).sum(axis=0) / (n.sum(axis=0) + 5)  # shrunk a little: a cluster may be new
    level = (r - n * difficulty).sum(axis=1) / divisor
    fitted = level[:, None] + difficulty
    rss = np.maximum(cells.squares - 2 * (r * fitted).sum(axis=1) + (n * fitted**2).sum(axis=1), 0.0)
    m = max(settings.min_requests_for_global, 1)
    pooled = (rss.sum() + m * NOISE_SD**2) / (total.sum() + m)
    return np.asarray(np.maximum((rss + m * pooled) / (total + m), 1e-4), dtype=np.float64)


def _grid(v: Floats, bonus: float) -> _Grid:
    arm = np.repeat([max(bonus * spread, SMALLEST_ARM_SPREAD) for spread in ARM_SPREADS], len(CLUSTER_SPREADS))
    cluster = np.tile(np.square(CLUSTER_SPREADS), len(ARM_SPREADS))[:, None, None] * np.ones((1, 1, v.shape[1]))
    cluster[:, :, 0] = 0.0
    scale = 1 + v * cluster
    precision = v / scale
    total = precision.sum(axis=2)
    arm_variance = np.square(arm)[:, None]
    log_scale = np.log(scale).sum(axis=(1, 2)) + np.log1p(arm_variance * total).sum(axis=1)
    return _Grid(arm, cluster, precision, v * cluster / scale, 1 / (1 / arm_variance + total), log_scale)


def _solve(
    grid: _Grid, means: Floats, log_price: Floats, slope: tuple[float, float], level: float
) -> tuple[Floats, Floats, Floats]:
    """Return mean (G, C+1) and covariance of (b, s) at each grid point, and the log weight of the point."""
    p, gain = grid.precision, grid.gain
    size = p.shape[2]
    row_sums = p - (gain * p.sum(axis=2))[..., None] * p  # H 1
    evidence = p * means - (gain * (p * means).sum(axis=2))[..., None] * p  # H y
    precision = np.zeros((len(p), size + 1, size + 1))
    precision[:, :size, :size] = -np.matmul((gain[..., None] * p).transpose(0, 2, 1), p)
    diagonal = np.arange(size)
    precision[:, diagonal, diagonal] += p.sum(axis=1)
    precision[:, :size, size] = precision[:, size, :size] = np.matmul(log_price, row_sums)
    precision[:, size, size] = row_sums.sum(axis=2) @ log_price**2
    right = np.empty((len(p), size + 1))
    right[:, :size], right[:, size] = evidence.sum(axis=1), evidence.sum(axis=2) @ log_price

    prior = np.zeros((size + 1, size + 1))
    shared = np.full((size, size), LEVEL_SD**2) + np.diag([0.0] + [DIFFICULTY_SD**2] * (size - 1))
    prior[:size, :size], prior[size, size] = np.linalg.inv(shared), slope[1] ** -2
    expected = np.append(np.full(size, level), slope[0])
    precision += prior
    right += prior @ expected
    covariance = np.linalg.inv(precision)
    coefficients = np.matmul(covariance, right[..., None])[..., 0]
    fit = (evidence * means).sum(axis=(1, 2)) - (right * coefficients).sum(axis=1) + expected @ prior @ expected
    log_weight = -0.5 * (grid.log_scale + fit + np.linalg.slogdet(precision)[1] - np.linalg.slogdet(prior)[1])
    return coefficients, covariance, np.asarray(log_weight, dtype=np.float64)


def _beliefs(
    grid: _Grid, means: Floats, cells: Cells, coefficients: Floats, covariance: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return mean and variance of quality, (G, K) over the traffic and (G, K, C) by cluster."""
    p, gain, own, log_price = grid.precision, grid.gain, grid.own, cells.log_price
    size = p.shape[2]
    base = coefficients[:, None, :size] + log_price[:, None] * coefficients[:, None, size:]
    arm = gain * (p * (means - base)).sum(axis=2)
    free = 1 - own
    theta = free * (base + arm[..., None]) + own * means

    # Derivative of theta with respect to (b, s), whose uncertainty all arms share.
    shape = (*p.shape[:2], size, size + 1)
    slope = np.broadcast_to(-(gain[..., None] * p)[:, :, None, :], (*p.shape[:2], size, size)).copy()
    diagonal = np.arange(size)
    slope[:, :, diagonal, diagonal] += 1
    derivative = np.empty(shape)
    derivative[..., :size] = slope
    derivative[..., size] = (log_price * (1 - gain * p.sum(axis=2)))[..., None]
    derivative *= free[..., None]

    traffic = cells.traffic
    overall = np.einsum("gkcd,c->gkd", derivative, traffic)
    spread = free * grid.cluster_variance
    variance = gain * (free @ traffic) ** 2 + spread @ traffic**2
    variance = variance + (np.matmul(overall, covariance) * overall).sum(axis=2)
    cluster_variance = free**2 * gain[..., None] + spread
    flat = derivative.reshape(len(p), -1, size + 1)
    cluster_variance = cluster_variance + (np.matmul(flat, covariance) * flat).sum(axis=2).reshape(theta.shape)
    return theta @ traffic, variance, theta, cluster_variance
