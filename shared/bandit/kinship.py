"""Similarity of kinds of prompt, for the mixed model: how much of what is learned of one kind holds for another.

    k = .8 x (share of the levels at which both are in one group) + .2 exp(-(1 - cos) / .3)

The groups come from Ward's agglomeration of the centres, each weighted with the root of its requests, at 4 to 48
groups. A topic of the traffic usually spreads over several kinds whose cosines are hardly larger than those to other
topics; grouping brings out the difference.

Reference: Ward (1963). A sum of indicators of groups is positive semi-definite, and so is a kernel of the angle.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVELS = (4, 6, 8, 12, 16, 24, 32, 48)
"""Numbers of groups."""

GROUPED = 0.8
LENGTH = 0.3


def kinship(centres: Floats, counts: Floats) -> Floats:
    """Return the similarity of kinds with unit `centres` (M, d) and `counts` of requests (M,): (M, M), 1 for itself."""
    near = np.exp((np.minimum(centres @ centres.T, 1.0) - 1.0) / LENGTH)
    levels = [level for level in LEVELS if level < len(centres)]
    grouped = _grouped(centres, np.sqrt(counts), set(levels)) / len(levels) if levels else np.eye(len(centres))
    similarity = GROUPED * grouped + (1 - GROUPED) * near
    np.fill_diagonal(similarity, 1.0)
    return np.asarray(similarity, dtype=np.float64)


def _grouped(means: Floats, mass: Floats, levels: set[int]) -> Floats:
    """Return at how many of the levels two kinds are in one group, (M, M)."""
    size = len(means)
    means, mass, group = means.copy(), mass.copy(), np.arange(size)
    squares = (means**2).sum(axis=1)
    costs = _cost(mass[:, None], mass, squares[:, None] + squares - 2 * means @ means.T)
    np.fill_diagonal(costs, np.inf)
    together = np.zeros((size, size))
    for groups in range(size, 1, -1):
        if groups in levels:
            together += group[:, None] == group
        kept, gone = divmod(int(costs.argmin()), size)
        means[kept] = (mass[kept] * means[kept] + mass[gone] * means[gone]) / (mass[kept] + mass[gone])
        mass[kept] += mass[gone]
        group[group == gone] = kept
        costs[gone] = costs[:, gone] = np.inf
        others = np.flatnonzero(np.isfinite(costs[kept]))
        distances = ((means[others] - means[kept]) ** 2).sum(axis=1)
        costs[kept, others] = costs[others, kept] = _cost(mass[kept], mass[others], distances)
    return together


def _cost(mass: Floats, other: Floats, distance: Floats) -> Floats:
    """Return what merging adds to the sum of squared distances to the means."""
    return np.asarray(mass * other / (mass + other) * distance)
