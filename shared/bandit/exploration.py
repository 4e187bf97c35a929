"""Width of the draws, and bounds on how often another arm than the best is tried.

    draw's sd  = sqrt(EXPLORATION_RATE / .1) sqrt(alpha_a^2 V_a + beta_a^2 max(0, V_a(x) - V_a))
    alpha_a    = .2 + .2 rho + .6 sqrt(rho) 10 / (10 + n_a),      rho = ratings / requests, n_a ratings of arm a
    beta_a     = .2 + .8 sqrt(rho) 5 / (5 + n_ax),                n_ax ratings of the arm on similar requests

V_a is the variance of the arm's quality over the traffic, V_a(x) that for this kind of prompt, both without what all
arms share. A try costs a request and pays a rating, if one comes: where every request is rated, a new arm is drawn with
the whole posterior and a known one with .4 of it; where one in ten is, with .4 and .2. What only the kind of prompt
leaves open is damped to .2, and not at all for an arm that is new to the kind.

Besides, the share of requests that go to another arm than the one expected to be best has bounds:

    at least  EXPLORATION_RATE x 20 / (20 + requests nearby)            a kind is tried when it is new, rated or not
    at most   EXPLORATION_RATE, from 25 ratings nearby for each arm on; before, and in a new kind, up to 1

Rate 0 is greedy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SCALE, SCALE_RATED, SCALE_NEW = 0.2, 0.2, 0.6
NEW_LABELS = 10.0
KIND_SCALE, KIND_SCALE_NEW = 0.2, 0.8
NEW_KIND = 20.0  # requests
NEW_KIND_LABELS = 5.0  # of one arm
SETTLED_LABELS = 25.0
USUAL_RATE = 0.1
SMALLEST_SD = 0.005
"""Of a draw, so that every arm keeps a propensity above 0 for a while."""


def rated_share(labels: float, requests: float) -> float:
    """Return the share of requests that are rated, close to 1 before there are any."""
    return min(1.0, (labels + 1) / (requests + 1))


def arm_scale(labels: Floats, rated: float) -> Floats:
    """Return alpha, (K,), of arms with so many `labels`."""
    return np.asarray(SCALE + SCALE_RATED * rated + SCALE_NEW * np.sqrt(rated) * NEW_LABELS / (NEW_LABELS + labels))


def kind_scale(labels_nearby: Floats, rated: float) -> Floats:
    """Return beta of arms with so many ratings on similar requests, (K,)."""
    return KIND_SCALE + KIND_SCALE_NEW * math.sqrt(rated) * NEW_KIND_LABELS / (NEW_KIND_LABELS + labels_nearby)


def draw_sd(arm_variance: Floats, kind_variance: Floats, kind_scale: Floats, rate: float) -> Floats:
    """Return the standard deviation to draw each arm's quality with, (K,).

    Args:
        arm_variance: alpha^2 V_a, (K,).
        kind_variance: V_a(x) - V_a, (K,); negative counts as 0.
        kind_scale: beta, (K,).
        rate: EXPLORATION_RATE.
    """
    if rate == 0:
        return np.zeros_like(arm_variance)
    squared = arm_variance + kind_scale**2 * np.maximum(kind_variance, 0.0)
    return np.asarray(np.maximum(np.sqrt(rate / USUAL_RATE * squared), SMALLEST_SD), dtype=np.float64)


def explored_bounds(rate: float, arms: int, requests_nearby: float, labels_nearby: float) -> tuple[float, float]:
    """Return the least and the largest share of requests like this one that another arm than the best may answer."""
    if rate == 0 or arms < 2:
        return 0.0, 0.0
    settled = min(1.0, labels_nearby / (SETTLED_LABELS * arms)) if requests_nearby > 0 else 0.0
    return rate * NEW_KIND / (NEW_KIND + requests_nearby), max(rate, 1.0 - settled * (1.0 - rate))


def bounded(chances: Sequence[float], best: int, bounds: tuple[float, float]) -> list[float]:
    """Return the probabilities with the share of all arms but `best` moved within `bounds`."""
    explored = 1.0 - chances[best]
    target = min(max(explored, bounds[0]), bounds[1])
    if target == explored:
        return list(chances)
    if explored <= 1e-9:  # no draw tells the others apart
        others = target / (len(chances) - 1)
        return [1.0 - target if i == best else others for i in range(len(chances))]
    return [1.0 - target if i == best else each * target / explored for i, each in enumerate(chances)]
