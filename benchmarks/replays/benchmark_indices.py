"""Public indices of quality for a replay: made of the recorded scores, right but for noise, or the wrong way round."""

from __future__ import annotations

import numpy as np

from deploy.simulator.recorded_outcomes import Outcomes

NOISE_SD = 0.05
PRIORS = ("none", "noisy", "inverted")


def benchmark_indices(outcomes: Outcomes, prior: str, seed: int) -> list[float | None]:
    """Return the index of each arm; None for `none`. Inverted, the best arm has that of the worst."""
    if prior == "none":
        return [None] * len(outcomes.models)
    means = outcomes.scores.mean(axis=0)
    indices = means + np.random.default_rng([seed, 17]).normal(0, NOISE_SD, len(means))
    if prior == "inverted":
        indices = means.max() + means.min() - indices
    return [float(index) for index in np.clip(indices, 0, 1)]
