"""Exact probabilities of a Gaussian argmax: how likely each arm was to be chosen, computed and not simulated.

    P_a = integral of f_a(u) prod_{b != a} F_b(u) du,     f_a, F_a: density and distribution of N(mu_a, s_a^2)

by Gauss-Legendre quadrature on panels that are at most two standard deviations of every arm that changes inside them,
so that a narrow arm beside a wide one is resolved as well. F is Abramowitz & Stegun 26.2.17 (error below 7.5e-8),
which reuses the density; the result is scaled to sum to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

REACH = 6.5
"""Standard deviations after which a normal density counts as nothing (mass beyond: 4e-11)."""

_PANEL_SDS = 2.0
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_NODES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2  # on [0, 1]
_ROOT_2PI = math.sqrt(2 * math.pi)


def normal_cdf(z: Floats) -> Floats:
    """Distribution function of the standard normal, elementwise, with an error below 7.5e-8."""
    return _density_and_cdf(z)[1]


def propensities(means: Sequence[float] | Floats, sds: Sequence[float] | Floats) -> Floats:
    """Return, for independent normal draws, the probability that each is the largest.

    Where all standard deviations are 0 (or lost in rounding) the first of the largest means gets 1. A single draw
    without spread among others is treated as the limit of a very narrow one.
    """
    mu, s = np.asarray(means, dtype=np.float64), np.asarray(sds, dtype=np.float64)
    result = np.zeros(mu.size)
    widest, resolution = float(s.max()), 1e-12 * float(np.abs(mu).max())
    if mu.size == 1 or widest <= resolution:
        result[int(mu.argmax())] = 1.0
        return result
    s = np.maximum(s, max(1e-9 * widest, resolution))
    tops = mu + REACH * s
    low = float((mu - REACH * s).max())
    contenders = np.flatnonzero(tops > low)
    if contenders.size == 1:
        result[contenders[0]] = 1.0
        return result
    mu, s = mu[contenders], s[contenders]
    edges = np.array(_panels(mu.tolist(), s.tolist(), low, float(tops.max())))
    widths = np.diff(edges)
    u = (edges[:-1, None] + widths[:, None] * _NODES).ravel()
    du = (widths[:, None] * _WEIGHTS).ravel()
    density, cdf = _density_and_cdf((u - mu[:, None]) / s[:, None])
    # Dividing the whole product by an arm's own factor is safe: where it underflows, the density does so too.
    np.maximum(cdf, 1e-30, out=cdf)
    density /= cdf
    weighted = density @ (np.multiply.reduce(cdf, axis=0) * du) / s
    result[contenders] = weighted / weighted.sum()
    return result


def chance_of_best(means: Floats, sds: Floats, chosen: int) -> float:
    """Return the probability that the draw of `chosen` is the largest, to about 0.01: for a person to read."""
    if means.size == 1:
        return 1.0
    others = np.arange(means.size) != chosen
    spread = np.hypot(sds[others], 1e-9)
    u = means[chosen] + sds[chosen] * _Z
    chances = normal_cdf((u - means[others, None]) / spread[:, None])
    return min(1.0, float(np.multiply.reduce(chances, axis=0) @ _Z_WEIGHTS))


_Z = np.linspace(-4.5, 4.5, 65)
_Z_WEIGHTS = np.exp(-(_Z**2) / 2) / np.exp(-(_Z**2) / 2).sum()


def _panels(means: list[float], sds: list[float], low: float, high: float) -> list[float]:
    """Return panel edges from `low` to `high`, fine where a narrow arm changes and coarse elsewhere."""
    arms = [(mu - REACH * s, mu + REACH * s, _PANEL_SDS * s) for mu, s in zip(means, sds, strict=True)]
    edges, u = [low], low
    while u < high:
        step = high - u
        for start, end, width in arms:
            if u < end and width < step:
                step = max(width, start - u) if u < start else width
        u = min(high, u + step)
        edges.append(u)
    return edges


def _density_and_cdf(z: Floats) -> tuple[Floats, Floats]:
    density = np.exp(-0.5 * z * z)
    density /= _ROOT_2PI
    t = np.abs(z)
    t *= 0.2316419
    t += 1.0
    np.reciprocal(t, out=t)
    tail = t * 1.330274429
    for coefficient in (-1.821255978, 1.781477937, -0.356563782, 0.319381530):
        tail += coefficient
        tail *= t
    tail *= density
    return density, np.where(z > 0, 1.0 - tail, tail)
