"""How widely to draw: Thompson sampling with a scale like that of MOSS (Audibert & Bubeck 2009).

    alpha_a = .2 sqrt(EXPLORATION_RATE / .1) sqrt(1 + 5 rho ln+(N / (K max(n_a, 1))))

of the posterior's standard deviation; n_a ratings of arm a, N of all K arms, rho = N / requests. An arm with its fair
share of ratings gets .2 at the default rate. A starved one gets more as N grows, so that a few unlucky ratings lock
nobody out for good; how much more depends on how many requests are rated, because a try costs a request and pays a
rating. What only the kind of prompt leaves open is damped to .2: exploring every arm in every cluster would cost more
than it can earn. Rate 0 is greedy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ARM_SCALE = 0.2
STARVED_BOOST = 5.0
CONTEXT_SCALE = 0.2
USUAL_RATE = 0.1
SMALLEST_SD = 0.005
"""Of a draw, so that every arm keeps a propensity above 0 for a while."""


def draw_sd(variance: Floats, labels: Floats, requests: float, rate: float, extra: Floats | None = None) -> Floats:
    """Return the standard deviation to draw each arm's quality with.

    Args:
        variance: of the arm's quality over the traffic, (K,).
        labels: ratings of each arm, (K,).
        requests: answered requests of all arms.
        rate: EXPLORATION_RATE.
        extra: variance that the prompt's cluster adds, (rows, K); None for none.
    """
    extra = np.zeros((1, len(variance))) if extra is None else extra
    if rate == 0:
        return np.zeros_like(extra)
    starved = np.log(np.maximum(labels.sum() / len(labels) / np.maximum(labels, 1.0), 1.0))
    rated = min(1.0, (labels.sum() + 1) / (requests + 1))
    squared = ARM_SCALE**2 * (1 + STARVED_BOOST * rated * starved) * variance + CONTEXT_SCALE**2 * np.maximum(
        extra, 0.0
    )
    return np.asarray(np.maximum(np.sqrt(rate / USUAL_RATE * squared), SMALLEST_SD), dtype=np.float64)
