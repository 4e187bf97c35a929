"""Evidence of several sources in one belief: users' ratings, and scores that may be shifted and biased.

A score of source s for an answer of arm a to a prompt of kind c is believed to be

    r = theta_ac + shift_s + bias_sa + e,     bias_sa ~ N(0, tau_s^2),  shift_s ~ N(0, .2^2),  e ~ N(0, sigma_sa^2)

Users have neither shift nor bias: what they say is what is to be learned. For the others shift and tau are estimated
where users have rated the same arms on the same kinds of prompt: with d_a the mean difference of the two within kinds
and v_a its variance, d_a ~ N(shift, tau^2 + v_a). tau is averaged over a grid about what is expected of such a source,
weighed by marginal likelihood; without ratings it is what was expected, and the shift is 0.

The bias is integrated out. With D_s = diag(n_asc / sigma_sa^2), source s adds this precision to the cells of arm a:

    W_sa = D_s - D_s 1 1' D_s / (1 / tau_s^2 + 1' D_s 1)

so that what it says of an arm as a whole weighs 1 / tau_s^2 at most, and users overrule it as their ratings come. What
it says of one kind against another is not bounded: a bias is the same for all kinds.

A source that gives nearly all answers the same score does not tell them apart, however many scores it gives. With
m_s = 1 - (variance of its scores) / .15^2, where that is above 0, it is expected to be as wrong about an arm as arms
differ, tau_s^2 + m_s .2^2, and about an answer as a rating is, m_s sigma_a^2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.bandit.sources import Source

Floats = NDArray[np.float64]

SHIFT_SD = 0.2
EXPECTED_BIAS = {
    Source.JUDGE: 0.05,
    Source.EVAL: 0.05,
    Source.CHECK: 0.15,
    Source.SESSION: 0.05,
    Source.IMPLICIT: 0.15,
}
"""tau of each source before users have said anything."""

BIAS_STEPS = (0.4, 1.0, 2.0, 4.0, 8.0)
"""Grid of tau in units of the expected one; `BIAS_WEIGHTS` are its prior probabilities."""
BIAS_WEIGHTS = (0.25, 0.4, 0.2, 0.1, 0.05)

ALIKE_SD = 0.15
"""Standard deviation of the scores of a source below which it hardly tells answers apart."""

ALIKE_LABELS = 2.0  # scores' worth of the prior that it does, with the noise of `NOISE_SD`
ARMS_SD = 0.2  # how much arms differ, and how wrong a source may be that does not tell them apart

NOISE_SD = 0.35  # of one score, before there are any
NOISE_LABELS = 10.0  # scores' worth of that prior


@dataclass(frozen=True, slots=True, eq=False)
class SourceCells:
    """Scores of one source on K arms in C kinds of prompt; column 0 is the unknown kind.

    Attributes:
        labels, scores: number of scores and their sum, (K, C).
        squares: sum of squared scores, (K,).
    """

    source: Source
    labels: Floats
    scores: Floats
    squares: Floats


@dataclass(frozen=True, slots=True, eq=False)
class SourceFit:
    """What is believed of one source.

    Attributes:
        labels: number of scores of each arm, (K,).
        shift: how much higher than users it scores.
        bias_sd: tau.
        differences, errors: mean difference to users of each arm and its standard deviation, (K,); NaN where users
            have not rated the arm on the same kinds of prompt.
    """

    source: Source
    labels: Floats
    shift: float
    bias_sd: float
    differences: Floats
    errors: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """Evidence of all sources on the quality of every arm for every kind.

    Attributes:
        precision: W_a, (K, C, C).
        unbiased: the same if no source had a bias: more scores of the same sources cannot tell a bias.
        information: W_a times the scores' means, less shifts, (K, C).
        noise: variance of one rating, (K,).
        sources: of the sources other than users.
    """

    precision: Floats
    unbiased: Floats
    information: Floats
    noise: Floats
    sources: tuple[SourceFit, ...]


def pool(ratings: SourceCells, others: Sequence[SourceCells]) -> Pooled:
    """Return the evidence of users' `ratings` and of `others` together."""
    noise = noise_variance(ratings)
    size = ratings.labels.shape[1]
    precision = (ratings.labels / noise[:, None])[:, :, None] * np.eye(size)
    unbiased = precision.copy()
    information = ratings.scores / noise[:, None]
    fits = []
    for cells in others:
        alike = _alike(cells)
        own_noise = np.maximum(noise_variance(cells), alike * noise)
        expected_bias = math.hypot(EXPECTED_BIAS[cells.source], ARMS_SD * math.sqrt(alike))
        fit = _fit_source(cells, ratings, own_noise, noise, expected_bias)
        weights = cells.labels / own_noise[:, None]
        moved = cells.scores / own_noise[:, None] - fit.shift * weights
        share = 1 / (1 / fit.bias_sd**2 + weights.sum(axis=1))
        unbiased += weights[:, :, None] * np.eye(size)
        precision += weights[:, :, None] * np.eye(size) - share[:, None, None] * weights[:, :, None] * weights[:, None]
        information += moved - (share * moved.sum(axis=1))[:, None] * weights
        fits.append(fit)
    return Pooled(precision, unbiased, information, noise, tuple(fits))


def noise_variance(cells: SourceCells) -> Floats:
    """Return the variance of one score of each arm about arm plus kind, shrunk towards that of all arms, (K,)."""
    n, r = cells.labels, cells.scores
    total = n.sum(axis=1)
    divisor = np.maximum(total, 1e-12)
    mean = r.sum(axis=1) / divisor
    difficulty = (r - n * mean[:, None]).sum(axis=0) / (n.sum(axis=0) + 5)  # shrunk a little: a kind may be new
    level = (r - n * difficulty).sum(axis=1) / divisor
    fitted = level[:, None] + difficulty
    rss = np.maximum(cells.squares - 2 * (r * fitted).sum(axis=1) + (n * fitted**2).sum(axis=1), 0.0)
    m = NOISE_LABELS
    pooled = (rss.sum() + m * NOISE_SD**2) / (total.sum() + m)
    return np.asarray(np.maximum((rss + m * pooled) / (total + m), 1e-4), dtype=np.float64)


def _alike(cells: SourceCells) -> float:
    """Return m_s, to which degree a source gives all answers the same score, from 0 to 1."""
    total, m = float(cells.labels.sum()), ALIKE_LABELS
    squares = float(cells.squares.sum()) - float(cells.scores.sum()) ** 2 / max(total, 1e-12)
    return min(max(1 - (squares + m * NOISE_SD**2) / (total + m) / ALIKE_SD**2, 0.0), 1.0)


def _fit_source(
    cells: SourceCells, ratings: SourceCells, noise: Floats, users_noise: Floats, expected_bias: float
) -> SourceFit:
    """Return shift and tau of a source, from its differences to users."""
    both = (cells.labels > 0) & (ratings.labels > 0)
    ours, theirs = np.where(both, cells.labels, 1.0), np.where(both, ratings.labels, 1.0)
    weights = np.where(both, ours * theirs / (ours + theirs), 0.0)
    total = weights.sum(axis=1)
    known = total > 0
    weights[known] /= total[known, None]
    gaps = np.where(both, cells.scores / ours - ratings.scores / theirs, 0.0)
    variances = noise[:, None] / ours + users_noise[:, None] / theirs
    differences = np.where(known, (weights * gaps).sum(axis=1), np.nan)
    errors = np.where(known, np.sqrt((weights**2 * variances).sum(axis=1)), np.nan)
    taus = expected_bias * np.array(BIAS_STEPS)
    spreads = taus[:, None] ** 2 + errors[known] ** 2  # (grid, arms)
    precisions = 1 / SHIFT_SD**2 + (1 / spreads).sum(axis=1)
    shifts = (differences[known] / spreads).sum(axis=1) / precisions
    # Marginal likelihood of the differences, the shift integrated out.
    quadratic = (differences[known] ** 2 / spreads).sum(axis=1) - shifts**2 * precisions
    log_weights = np.log(BIAS_WEIGHTS) - 0.5 * (np.log(spreads).sum(axis=1) + np.log(precisions) + quadratic)
    chances = np.exp(log_weights - log_weights.max())
    chances /= chances.sum()
    return SourceFit(
        source=cells.source,
        labels=cells.labels.sum(axis=1),
        shift=float(chances @ shifts),
        bias_sd=float(np.exp(chances @ np.log(taus))),
        differences=differences,
        errors=errors,
    )
