"""Fitted posterior: beliefs about every arm, over the traffic and by cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.bandit.arms import ArmId
from shared.bandit.context import Vector
from shared.bandit.policy import ArmSummary
from shared.bandit.sums import Centroids, Sums

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class GaussianPosterior:
    """Normal beliefs about quality, and expectations of cost and latency.

    Matrices have one column an arm. Row 0 is for prompts of which nothing is known; row c + 1, where there is one, is
    for prompts of cluster c.

    Attributes:
        version: of the learned state it was fitted to.
        arms: in the order of the columns; `index` is their inverse.
        sums: the evidence.
        quality, quality_sd: posterior mean and standard deviation of the mean score.
        draw_sd: standard deviation to draw with.
        cost_usd, latency_s: expectations; NaN where nothing is known.
        reliability: probability that a call is answered, (K,).
        kept: share of the ratings that still count; below 1 since an arm was seen to become worse, (K,).
        local_gate: whether neighbours may move the estimates.
        centroids: of the clusters, if there are any.
    """

    version: str
    arms: tuple[ArmId, ...]
    index: Mapping[ArmId, int]
    sums: tuple[Sums, ...]
    quality: Floats
    quality_sd: Floats
    draw_sd: Floats
    cost_usd: Floats
    latency_s: Floats
    reliability: Floats
    kept: Floats
    local_gate: bool
    centroids: Centroids | None

    def cluster_of(self, vector: Vector | None) -> tuple[int, int] | None:
        """Return (epoch, cluster) of a prompt, or None where there is no vector of the right size or no cluster."""
        return None if self.centroids is None else self.centroids.cluster_of(vector)

    def row_of(self, cluster: tuple[int, int] | None) -> int:
        """Return the row for prompts of `cluster`."""
        return cluster[1] + 1 if cluster is not None and cluster[1] + 1 < self.quality.shape[0] else 0

    def summary(self) -> tuple[ArmSummary, ...]:
        """Return what is believed of each arm over all prompts, with 95 % intervals inside [0, 1]."""
        half = 1.959964 * self.quality_sd[0]
        low, high = np.clip(self.quality[0] - half, 0, 1), np.clip(self.quality[0] + half, 0, 1)
        return tuple(
            ArmSummary(
                arm=arm,
                labels=sums.labels,
                requests=sums.requests,
                failures=sums.failures,
                quality=float(self.quality[0, i]),
                quality_low=float(low[i]),
                quality_high=float(high[i]),
                cost_usd=known(self.cost_usd[0, i]),
                latency_s=known(self.latency_s[0, i]),
                reliability=float(self.reliability[i]),
                kept=float(self.kept[i]),
            )
            for i, (arm, sums) in enumerate(zip(self.arms, self.sums, strict=True))
        )


def known(value: float) -> float | None:
    """Return a plain float, or None for NaN."""
    return None if np.isnan(value) else float(value)
