"""Local evidence: the shift of each arm's quality by similar past requests.

    c_i     = max(0, s_i - t) / (1 - t),                    t = SIMILARITY_THRESHOLD, s_i cosine of neighbour i
    w_i     = c_i / (1.02 - c_i)
    delta_a = sum_{i of a} w_i (r_i - q_{a_i}) / (sum_{i of a} w_i + k),         k = 5

The weight is the odds of the rescaled cosine: 0 at the threshold, 1 half-way, 50 for the same prompt again, which says
far more than any number of merely similar ones (weights linear in the cosine earned two thirds as much on repeated
prompts). A shift is dropped where sum w / (sum w + k) < .1, and all shifts are where fewer than MIN_SIMILAR_REQUESTS
rated requests are similar.

Shifts are added only while they have predicted ratings better than the estimate without them: sum of gains > 2 sqrt(sum
of squared gains), over all arms (`learning.py` scores every rated request before it is learned). Ungated it loses at
rest: near-twin prompts often have opposite answers.

A search costs a request more than its decision does, and while the gate is shut it changes nothing but what is known of
the gate. `search_share` is the share of requests that search then. Which ones is drawn without looking at the prompt,
so the gate is learned from fewer ratings, without a bias.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from shared.bandit.arms import ArmId
from shared.bandit.context import Neighbour
from shared.bandit.decision import NeighbourUse
from shared.bandit.policy import BanditSettings
from shared.bandit.sums import Sums

PSEUDO_WEIGHT, LEAST_SHARE = 5.0, 0.1

ENOUGH_RATINGS, PROMISING, SEARCHED_SHARE = 300.0, 1.0, 1 / 8
"""Every request searches from the first rating until there are so many, and while the gains are above so many standard
errors; with a shut gate this share does."""

SAME_PROMPT = 0.02
"""Bounds the odds: a neighbour weighs at most 1 / 0.02 = 50."""


@dataclass(frozen=True, slots=True, eq=False)
class LocalEvidence:
    """Shift of the quality of each arm, and the neighbours with the weight they had."""

    shifts: list[float]
    used: tuple[NeighbourUse, ...]


def gate_open(sums: Sequence[Sums]) -> bool:
    """Tell whether the neighbours' shifts have predicted better than no shift, beyond two standard errors."""
    return _gains_exceed(2.0, sums)


def search_share(sums: Sequence[Sums]) -> float:
    """Return the share of requests that search for neighbours."""
    if 0 < math.fsum(s.labels for s in sums) < ENOUGH_RATINGS or _gains_exceed(PROMISING, sums):
        return 1.0
    return SEARCHED_SHARE


def searches(share: float, rng: np.random.Generator) -> bool:
    """Draw whether a request searches for neighbours."""
    return share >= 1.0 or rng.random() < share


def _gains_exceed(standard_errors: float, sums: Sequence[Sums]) -> bool:
    gain = math.fsum(s.gain for s in sums)
    return gain > standard_errors * math.sqrt(math.fsum(s.gain_sq for s in sums)) and gain > 0


def local_evidence(
    neighbours: Sequence[Neighbour], quality: Sequence[float], index: Mapping[ArmId, int], settings: BanditSettings
) -> LocalEvidence:
    """Weigh the neighbours of arms in `index` against `quality`, the estimates without them."""
    threshold, span = settings.similarity_threshold, 1.0 - settings.similarity_threshold
    bound = 1.0 + SAME_PROMPT
    residuals, weights = [0.0] * len(quality), [0.0] * len(quality)
    used: list[NeighbourUse] = []
    for request_id, similarity, arm, score in neighbours[: settings.max_similar_requests]:
        position = index.get(arm)
        closeness = (similarity - threshold) / span
        if position is None or closeness <= 0.0:
            continue
        weight = closeness / (bound - closeness) if closeness < 1.0 else 1.0 / (bound - 1.0)
        weights[position] += weight
        residuals[position] += weight * (score - quality[position])
        used.append((request_id, similarity, arm, score, weight))
    if len(used) < settings.min_similar_requests:
        return LocalEvidence([0.0] * len(quality), tuple(used))
    shifts = [
        residual / (weight + PSEUDO_WEIGHT)
        if weight > 0.0 and weight / (weight + PSEUDO_WEIGHT) >= LEAST_SHARE
        else 0.0
        for residual, weight in zip(residuals, weights, strict=True)
    ]
    return LocalEvidence(shifts, tuple(used))
