"""How widely to draw: Thompson sampling, tempered by what a try brings.

    draw's sd = (.2 + .3 rho) sqrt(EXPLORATION_RATE / .1) x posterior sd,    rho = ratings / requests

A try costs a request and pays a rating, if one comes. Where every request is rated, half of the posterior's standard
deviation found the best arm soonest on the sets it was tuned on; where one in ten is, less than a quarter. (Scales that
grow for arms with few ratings, as in MOSS, did not protect them better, and kept on exploring too long.) What only the
kind of prompt leaves open is damped to .2: exploring every arm in every cluster would cost more than it can earn.
Rate 0 is greedy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SCALE_UNRATED = 0.2
SCALE_RATED = 0.5
CONTEXT_SCALE = 0.2
USUAL_RATE = 0.1
SMALLEST_SD = 0.005
"""Of a draw, so that every arm keeps a propensity above 0 for a while."""


def draw_sd(variance: Floats, labels: float, requests: float, rate: float, extra: Floats | None = None) -> Floats:
    """Return the standard deviation to draw each arm's quality with.

    Args:
        variance: of the arm's quality over the traffic, (K,).
        labels: ratings of all arms.
        requests: answered requests of all arms.
        rate: EXPLORATION_RATE.
        extra: variance that the prompt's cluster adds, (rows, K); None for none.
    """
    extra = np.zeros((1, len(variance))) if extra is None else extra
    if rate == 0:
        return np.zeros_like(extra)
    rated = min(1.0, (labels + 1) / (requests + 1))
    scale = SCALE_UNRATED + (SCALE_RATED - SCALE_UNRATED) * rated
    squared = scale**2 * variance + CONTEXT_SCALE**2 * np.maximum(extra, 0.0)
    return np.asarray(np.maximum(np.sqrt(rate / USUAL_RATE * squared), SMALLEST_SD), dtype=np.float64)
