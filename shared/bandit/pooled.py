"""Quality of each arm over all prompts: a normal prior, updated by every rating.

    r ~ N(q_a, sigma_a^2),   q_a ~ N(OPTIMISTIC_PRIOR, (2 EXPLORATION_BONUS)^2)
    sigma_a^2 = (RSS_a + m sigma_pool^2) / (n_a + m),   sigma_pool^2 = (sum RSS + m .35^2) / (N + m)

n_a ratings of arm a, N of all; m = MIN_REQUESTS_FOR_GLOBAL (at least 1). Exact given sigma; scores need not be normal
for the mean to be right, only for its draw.

The draw's standard deviation is alpha_a times the posterior's, with the scale of MOSS (Audibert & Bubeck 2009):

    alpha_a = .25 sqrt(EXPLORATION_RATE / .1) sqrt(1 + ln+(N / (K max(n_a, 1))))

An arm with its fair share of ratings gets .25 at the default rate, a starved one more as N grows, so none is locked
out for good. Rate 0 is greedy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.bandit.policy import BanditSettings
from shared.bandit.sums import Sums

Floats = NDArray[np.float64]

SMALLEST_PRIOR_SD = 0.02  # below it ratings could not tell the arms apart any more
NOISE_SD = 0.35  # of one rating, before there are any
DRAW_SCALE = 0.25  # of the posterior's standard deviation, at EXPLORATION_RATE 0.1
SMALLEST_DRAW_SD = 0.005


def quality_posterior(sums: Sequence[Sums], settings: BanditSettings) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of the quality of each arm."""
    labels, noise = np.array([s.labels for s in sums]), noise_variance(sums, settings)
    scores = np.array([s.score for s in sums])
    prior_precision = max(2 * settings.exploration_bonus, SMALLEST_PRIOR_SD) ** -2
    variance = 1 / (prior_precision + labels / noise)
    return (prior_precision * settings.optimistic_prior + scores / noise) * variance, np.sqrt(variance)


def noise_variance(sums: Sequence[Sums], settings: BanditSettings) -> Floats:
    """Return the variance of one rating of each arm, shrunk towards that of all."""
    labels = np.array([s.labels for s in sums])
    scores, squares = np.array([s.score for s in sums]), np.array([s.score_sq for s in sums])
    rss = np.maximum(squares - np.divide(scores**2, labels, out=np.zeros(len(labels)), where=labels > 0), 0.0)
    m = max(settings.min_requests_for_global, 1)
    pooled = (rss.sum() + m * NOISE_SD**2) / (labels.sum() + m)
    return np.asarray((rss + m * pooled) / (labels + m), dtype=np.float64)


def draw_scale(labels: Floats, settings: BanditSettings) -> Floats:
    """Return alpha, by which the draw's standard deviation differs from the posterior's."""
    fair_share = labels.sum() / labels.size
    starved = np.log(np.maximum(fair_share / np.maximum(labels, 1.0), 1.0))
    return np.asarray(DRAW_SCALE * np.sqrt(settings.exploration_rate / 0.1 * (1 + starved)), dtype=np.float64)


def draw_sd(sd: Floats, labels: Floats, settings: BanditSettings) -> Floats:
    """Return the standard deviation to draw with; 0 where EXPLORATION_RATE is 0."""
    if settings.exploration_rate == 0:
        return np.zeros_like(sd)
    return np.maximum(draw_scale(labels, settings) * sd, SMALLEST_DRAW_SD)
