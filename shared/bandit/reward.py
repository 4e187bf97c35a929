"""Expected cost and latency of each arm, and the scale-free terms of the utility.

    cost_a    = (sum of costs + m * prior) / (priced answers + m),    prior = list price x mean tokens of all traffic
    cost term = cost_a / cost of the dearest eligible arm,      speed term = 1 - latency_a / latency of the slowest

Both terms lie in [0, 1] whatever the currency, so that a weight means the same for cheap and for dear sets of arms.
m is MIN_REQUESTS_FOR_GLOBAL. Learned from every answer, rated or not. Quality is that of an answer; a call
that fails has none, so it counts times the probability that there is one (`reliability`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.bandit.arms import Arm
from shared.bandit.sums import Sums

Floats = NDArray[np.float64]

ASSUMED_PROMPT_TOKENS = 400.0
ASSUMED_COMPLETION_TOKENS = 400.0
"""Of a request, before the first answer has been seen. Only the ratio between arms matters."""


@dataclass(frozen=True, slots=True, eq=False)
class Expectation:
    """Expected cost and latency of an answer, one per arm; NaN where nothing is known."""

    cost_usd: Floats
    latency_s: Floats


def expect(arms: Sequence[Arm], sums: Sequence[Sums], pseudo_requests: float) -> Expectation:
    """Return the expected cost and latency of the next answer of each arm."""
    answers, priced = (np.array([getattr(s, name) for s in sums]) for name in ("answers", "priced"))
    everything, measured = float(answers.sum()), float(priced.sum())
    prompt, completion = ASSUMED_PROMPT_TOKENS, ASSUMED_COMPLETION_TOKENS
    pooled_latency = np.nan
    if measured > 0:
        prompt = sum(s.prompt_tokens for s in sums) / measured
        completion = sum(s.completion_tokens for s in sums) / measured
    if everything > 0:
        pooled_latency = sum(s.latency_s for s in sums) / everything
    listed = np.array([np.nan if arm.price is None else arm.price.cost_usd(prompt, completion) for arm in arms])
    return Expectation(
        cost_usd=shrink(np.array([s.cost_usd for s in sums]), priced, listed, pseudo_requests),
        latency_s=shrink(
            np.array([s.latency_s for s in sums]), answers, np.full(len(arms), pooled_latency), pseudo_requests
        ),
    )


def shrink(total: Floats, count: Floats, prior: Floats, pseudo_count: float) -> Floats:
    """Return means shrunk towards `prior`, along the last axis; without it the plain mean, without either NaN."""
    weight = np.where(np.isnan(prior), 0.0, np.maximum(pseudo_count, 1e-9))
    summed = total + weight * np.nan_to_num(prior)
    mean = np.full(total.shape, np.nan)
    np.divide(summed, count + weight, out=mean, where=count + weight > 0)
    return mean


def reliability(sums: Sequence[Sums], pseudo_requests: float) -> Floats:
    """Return the probability that each arm answers a call, with some more calls taken as answered."""
    answered = np.array([one.answers for one in sums]) + max(pseudo_requests, 1e-9)
    return np.asarray(answered / (answered + [one.failures for one in sums]), dtype=np.float64)


def share_of_largest(values: Floats) -> Floats:
    """Return each value over the largest; an unknown one counts like the mean of the known, all unknown as 0."""
    known = values[~np.isnan(values)]
    largest = known.max() if known.size else 0.0
    if largest <= 0.0:
        return np.zeros(values.size)
    return np.where(np.isnan(values), known.mean(), values) / largest
