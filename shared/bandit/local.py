"""What similar past requests say of this prompt, beyond what is known of the arms in general.

    c_i     = max(0, s_i - t) / (1 - t),                    t = SIMILARITY_THRESHOLD, s_i cosine of neighbour i
    w_i     = c_i / (1.02 - c_i)
    delta_a = sum_{i of a} w_i (r_i - q_{a_i}) / (sum_{i of a} w_i + k),         k = MIN_SIMILAR_REQUESTS

The weight is the odds of the rescaled cosine: 0 at the threshold, 1 half-way, 50 for the same prompt again, which says
far more than any number of merely similar ones (weights linear in the cosine earned two thirds as much on repeated
prompts). A shift is dropped where sum w / (sum w + k) < MIN_CONFIDENCE_SCORE.

Shifts are added only while they have predicted ratings better than the estimate without them: sum of gains > 2 sqrt(sum
of squared gains), over all arms (`learning.py` scores every rated request before it is learned). Ungated it loses at
rest: near-twin prompts often have opposite answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.bandit.arms import ArmId
from shared.bandit.context import Neighbour
from shared.bandit.decision import NeighbourUse
from shared.bandit.policy import BanditSettings
from shared.bandit.sums import Sums

Floats = NDArray[np.float64]

SAME_PROMPT = 0.02
"""Bounds the odds: a neighbour weighs at most 1 / 0.02 = 50."""


@dataclass(frozen=True, slots=True, eq=False)
class LocalEvidence:
    """Shift of the quality of each arm, and the neighbours with the weight they had."""

    shifts: Floats
    used: tuple[NeighbourUse, ...]


def gate_open(sums: Sequence[Sums]) -> bool:
    """Tell whether the neighbours' shifts have predicted better than no shift, beyond two standard errors."""
    gain = math.fsum(s.gain for s in sums)
    return gain > 2 * math.sqrt(math.fsum(s.gain_sq for s in sums)) and gain > 0


def local_evidence(
    neighbours: Sequence[Neighbour], quality: Sequence[float], index: Mapping[ArmId, int], settings: BanditSettings
) -> LocalEvidence:
    """Weigh the neighbours of arms in `index` against `quality`, the estimates without them."""
    threshold = settings.similarity_threshold
    residuals, weights = [0.0] * len(quality), [0.0] * len(quality)
    used = []
    for near in neighbours[: settings.max_similar_requests]:
        position = index.get(near.arm)
        closeness = (min(near.similarity, 1.0) - threshold) / (1.0 - threshold)
        if position is None or closeness <= 0.0:
            continue
        weight = closeness / (1.0 + SAME_PROMPT - closeness)
        weights[position] += weight
        residuals[position] += weight * (near.score - quality[position])
        used.append(NeighbourUse(near.request_id, near.similarity, near.arm, near.score, weight))
    kappa, floor = settings.min_similar_requests, settings.min_confidence_score
    shifts = [
        residual / (weight + kappa) if weight > 0.0 and weight / (weight + kappa) >= floor else 0.0
        for residual, weight in zip(residuals, weights, strict=True)
    ]
    return LocalEvidence(np.array(shifts), tuple(used))
