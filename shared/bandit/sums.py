"""Sufficient statistics: integer sums that commute, so that order, replay and rebuild cannot change them.

One hash in Redis holds the sums of one arm and one day. A request contributes twice: when it was answered (`outcome`:
cost, latency, failure) and when it is rated (`feedback`). Each contribution is a mapping of field to integer; a revised
rating first subtracts the old one. Units are in the names: `score_micro` is a sum of scores times 1e6.

Fields may be followed by `@<epoch>.<cluster>`: the same sum restricted to requests whose prompt fell into that cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.bandit.arms import ArmId

MICRO = 1_000_000
NANO = 1_000_000_000

LABELS = "labels"
SCORE = "score_micro"
SCORE_SQ = "score_sq_micro"
GAIN = "local_gain_micro"
GAIN_SQ = "local_gain_sq_micro"
REQUESTS = "requests"
FAILURES = "failures"
COST = "cost_nanousd"
LATENCY = "latency_us"
PROMPT_TOKENS = "prompt_tokens"
COMPLETION_TOKENS = "completion_tokens"

IntSums = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Sums:
    """Recency-weighted sums of one arm (or one of its clusters), in natural units.

    Attributes:
        labels: number of ratings.
        score: sum of ratings.
        score_sq: sum of squared ratings.
        gain: sum over ratings of how much better the local estimate predicted than the global one (squared error).
        gain_sq: sum of the squares of those gains.
        requests: number of answered requests.
        failures: number of failed calls.
        cost_usd, latency_s, prompt_tokens, completion_tokens: sums over answered requests.
    """

    labels: float = 0.0
    score: float = 0.0
    score_sq: float = 0.0
    gain: float = 0.0
    gain_sq: float = 0.0
    requests: float = 0.0
    failures: float = 0.0
    cost_usd: float = 0.0
    latency_s: float = 0.0
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class ArmSums:
    """All that is remembered of one arm: its totals and, by (epoch, cluster), the same restricted to a cluster."""

    total: Sums = field(default_factory=Sums)
    clusters: Mapping[tuple[int, int], Sums] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Centroids:
    """Cluster centres of the traffic: `centres` is (M, d) float32, unit rows; `epoch` counts refits."""

    epoch: int
    centres: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class LearnedState:
    """What the gateways read: `version` changes whenever any sum does."""

    version: str
    arms: Mapping[ArmId, ArmSums]
    centroids: Centroids | None = None


NOTHING_LEARNED = LearnedState(version="0", arms={})
