"""Exact propensities: probabilities of a Gaussian argmax by quadrature, without simulation.

    P_a = integral of f_a(u) prod_{b != a} F_b(u) du = integral of r_a(u) prod_b F_b(u) du,     r_a = f_a / F_a

with f_a, F_a the density and the distribution of N(mu_a, s_a^2). Two arms have a closed form. More are integrated by
the trapezoidal rule, which converges geometrically for such bells (Trefethen and Weideman, The Exponentially Convergent
Trapezoidal Rule, 2014) but knows one step only, that of the narrowest arm; where sds differ much, by Gauss-Legendre
quadrature on panels that are at most two sds of every arm that changes inside them, so that a narrow arm beside a wide
one is resolved as well. F and r come from one table, interpolated linearly (error of F below 1.2e-7): a decision has a
hundred or two of them, for which the calls of numpy cost more than the sums. The result is scaled to sum to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MeanSd = tuple[float, float]

REACH = 6.0
"""Standard deviations after which a normal density counts as nothing (mass beyond: 1e-9)."""

_CELLS = 512
"""Of the table, for each standard deviation."""
_STEP_SDS, _PANEL_SDS = 0.6, 2.0
_ALIKE = 4.0
"""Ratio of the widest to the narrowest sd up to which one step serves all arms."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_NODES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2  # on [0, 1]


def normal_cdf(z: float) -> float:
    """Distribution function of the standard normal."""
    return 0.5 * math.erfc(-math.sqrt(0.5) * z)


def propensities(means: Sequence[float] | Floats, sds: Sequence[float] | Floats) -> Floats:
    """Return, for independent normal draws, the probability that each is the largest.

    Where all standard deviations are 0 (or lost in rounding) the first of the largest means gets 1. A single draw
    without spread among others is treated as the limit of a very narrow one.
    """
    return np.array(win_chances([float(mean) for mean in means], [float(sd) for sd in sds]))


def win_chances(means: list[float], sds: list[float]) -> list[float]:
    """Return the propensities as plain floats: for a few arms numpy's call overhead exceeds its work."""
    result = [0.0] * len(means)
    widest, resolution = max(sds), 1e-12 * max(*means, -min(means))
    if len(means) == 1 or widest <= resolution:
        result[means.index(max(means))] = 1.0
        return result
    narrowest = max(1e-9 * widest, resolution)
    arms = [(mean, max(sd, narrowest)) for mean, sd in zip(means, sds, strict=True)]
    low = max([mean - REACH * sd for mean, sd in arms])
    contenders = [i for i, (mean, sd) in enumerate(arms) if mean + REACH * sd > low]
    shares = _shares([arms[i] for i in contenders], low)
    for i, share in zip(contenders, shares, strict=True):
        result[i] = share
    return result


def chance_of_best(means: Sequence[float] | Floats, sds: Sequence[float] | Floats, chosen: int) -> float:
    """Return the probability that the draw of `chosen` is the largest, to about 0.01: for a person to read."""
    rivals = [(mean, max(sd, 1e-9)) for mean, sd in zip(means, sds, strict=True)]
    mean, sd = rivals.pop(chosen)
    low = mean - _RIVAL_SDS * sd
    rivals = [rival for rival in rivals if rival[0] + _RIVAL_SDS * rival[1] > low]
    if not rivals:
        return 1.0
    if len(rivals) == 1:
        return normal_cdf((mean - rivals[0][0]) / math.hypot(sd, rivals[0][1]))
    cdf = _TABLE[0].take(_cells(rivals, mean, sd * _Z).astype(np.intp), mode="clip")
    return min(1.0, float(np.multiply.reduce(cdf, axis=0) @ _Z_WEIGHTS))


def _shares(arms: list[MeanSd], low: float) -> list[float]:
    """Return what each contender wins; below `low` none of them does."""
    if len(arms) == 1:
        return [1.0]
    if len(arms) == 2:
        (mu, s), (nu, t) = arms
        return [normal_cdf((mu - nu) / math.hypot(s, t)), normal_cdf((nu - mu) / math.hypot(s, t))]
    u, du = _grid([(mean - low, sd) for mean, sd in arms])
    between = _cells(arms, low, u)
    cells = between.astype(np.intp)
    between -= cells
    known = _TABLE.take(cells, axis=1, mode="clip")
    cdf, ratio = known[:2] + between * known[2:]
    integrals = ratio @ (np.multiply.reduce(cdf, axis=0) * du)
    won = [integral / sd for integral, (_, sd) in zip(integrals.tolist(), arms, strict=True)]
    total = sum(won)
    return [each / total for each in won]


def _cells(arms: list[MeanSd], origin: float, u: Floats) -> Floats:
    """Return where `origin + u` is in the table, for each arm."""
    cells: Floats = np.array([_CELLS / sd for _, sd in arms])[:, None] * u
    cells += np.array([_CELLS * ((origin - mean) / sd + REACH) for mean, sd in arms])[:, None]
    return cells


def _grid(arms: list[MeanSd]) -> tuple[Floats, Floats | float]:
    """Return nodes from 0 to where no arm reaches, and their weights up to a factor."""
    sds = [sd for _, sd in arms]
    high, narrowest = max([mean + REACH * sd for mean, sd in arms]), min(sds)
    # The product of K distributions of one sd is about as smooth as a density of sd / sqrt(K).
    if max(sds) <= _ALIKE * narrowest:
        step = narrowest * _STEP_SDS * min(1.0, math.sqrt(5 / len(arms)))
        return np.arange(0.0, high + step, step), 1.0
    edges = np.array(_panels(arms, high, _PANEL_SDS * min(1.0, math.sqrt(12 / len(arms)))))
    widths = edges[1:] - edges[:-1]
    return (edges[:-1, None] + widths[:, None] * _NODES).ravel(), (widths[:, None] * _WEIGHTS).ravel()


def _panels(arms: list[MeanSd], high: float, width_sds: float) -> list[float]:
    """Return panel edges from 0 to `high`, fine where a narrow arm changes and coarse elsewhere."""
    spans = [(mean - REACH * sd, mean + REACH * sd, width_sds * sd) for mean, sd in arms]
    edges, u = [0.0], 0.0
    while u < high:
        step = high - u
        for start, end, width in spans:
            if u < end and width < step:
                step = max(width, start - u) if u < start else width
        u = min(high, u + step)
        edges.append(u)
    return edges


def _table() -> Floats:
    """Return F, r and their steps to the next cell, (4, cells), from -REACH to REACH."""
    z = np.arange(-REACH * _CELLS, REACH * _CELLS + 1) / _CELLS
    cdf = np.array([normal_cdf(each) for each in z.tolist()])
    ratio = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) / cdf
    rows = np.zeros((4, len(z)))
    rows[:2, :-1], rows[2:, :-1] = (cdf[:-1], ratio[:-1]), np.diff((cdf, ratio))
    rows[0, -1] = 1.0  # and everything beyond: 1, and no density
    return rows


_TABLE = _table()
_RIVAL_SDS = 2.5
"""Beyond so many of both an arm is no rival of the chosen one: it wins in 0.006 of the cases at most."""
_Z = np.linspace(-4.5, 4.5, 65)
_Z_WEIGHTS = np.exp(-(_Z**2) / 2) / np.exp(-(_Z**2) / 2).sum()
