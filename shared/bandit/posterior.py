"""Fitted posterior: beliefs about every arm, over the traffic and by kind of prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.bandit.arms import ArmId
from shared.bandit.evidence import SourceFit
from shared.bandit.exploration import draw_sd, kind_scale
from shared.bandit.kinds import Kinds, Place
from shared.bandit.policy import ArmSummary
from shared.bandit.sums import Sums

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Beliefs:
    """Beliefs about every arm for one prompt, each (K,): see `GaussianPosterior`.

    `learnable` is the variance of the quality that more scores of the same sources can remove, without what all arms
    share. `arm_labels` are the ratings of each arm on similar prompts; `requests_nearby` and `labels_nearby` count
    requests and ratings of similar prompts. Of a new kind there has been no request; without context all prompts are
    similar.
    """

    quality: Floats
    quality_variance: Floats
    learnable: Floats
    draw_sd: Floats
    cost_usd: Floats
    latency_s: Floats
    arm_labels: Floats
    requests_nearby: float
    labels_nearby: float


@dataclass(frozen=True, slots=True, eq=False)
class KindEvidence:
    """Evidence on each arm in each kind of prompt, (K, M), weighted by age."""

    requests: Floats
    labels: Floats


@dataclass(frozen=True, slots=True, eq=False)
class GaussianPosterior:
    """Normal beliefs about quality, and expectations of cost and latency.

    Matrices have one column an arm. Row 0 is over the traffic; row 1 for a kind of prompt that is new; row c + 2, where
    there is one, for prompts of kind c (a row of `kinds`).

    Attributes:
        version: of the learned state it was fitted to.
        arms: in the order of the columns; `index` is their inverse.
        sums: the evidence.
        quality, variance: posterior mean and variance of the mean score.
        contrast: the variance without what all arms share, and without biases of sources.
        arm_variance: variance of the draw that does not depend on the prompt, alpha^2 V_a, (K,).
        cost_usd, latency_s: expectations; NaN where nothing is known.
        reliability: probability that a call is answered, (K,).
        kept: share of the ratings that still count; below 1 since an arm was seen to become worse, (K,).
        noise: variance of one rating, (K,).
        local_gate: whether neighbours may move the estimates.
        search_share: share of requests that search for neighbours.
        kinds: of prompts, if there are any.
        kind_variance: how much the quality of an arm differs from kind to kind, t_g^2.
        requests_nearby: requests of similar prompts by kind, (M,).
        arm_labels_nearby: ratings of each arm on similar prompts by kind, (M, K).
        evidence: of each arm in each kind.
        rated: share of requests that are rated.
        exploration_rate: EXPLORATION_RATE.
        sources: what is believed of the sources other than users.
    """

    version: str
    arms: tuple[ArmId, ...]
    index: Mapping[ArmId, int]
    sums: tuple[Sums, ...]
    quality: Floats
    variance: Floats
    contrast: Floats
    arm_variance: Floats
    cost_usd: Floats
    latency_s: Floats
    reliability: Floats
    kept: Floats
    noise: Floats
    local_gate: bool
    search_share: float
    kinds: Kinds | None = None
    kind_variance: float = 0.0
    requests_nearby: Floats = field(default_factory=lambda: np.zeros(0))
    arm_labels_nearby: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    evidence: KindEvidence = field(default_factory=lambda: KindEvidence(np.zeros((0, 0)), np.zeros((0, 0))))
    rated: float = 1.0
    exploration_rate: float = 0.1
    sources: tuple[SourceFit, ...] = ()

    @property
    def labels(self) -> Floats:
        """Number of scores of each arm, of all sources, (K,)."""
        ratings = np.array([one.labels for one in self.sums])
        return np.asarray(sum((fit.labels for fit in self.sources), ratings))

    def at(self, place: Place | None) -> Beliefs:
        """Return the beliefs for a prompt.

        What is known of the nearest kind holds by the prompt's nearness k; the rest is as of a new kind:
        mean k theta + (1 - k) theta_new, and variance k V + (1 - k) V_new + (1 - k^2) t_g^2.
        """
        if place is None or place.row + 2 >= len(self.quality):
            nothing = np.zeros(len(self.arms))
            sd = draw_sd(self.arm_variance, nothing, nothing, self.exploration_rate)
            labels = self.labels
            requests = sum(one.requests for one in self.sums)
            believed = self.quality[0], self.variance[0], self.contrast[0], sd, self.cost_usd[0], self.latency_s[0]
            return Beliefs(*believed, labels, requests, float(labels.sum()))
        row, k = place.row + 2, place.nearness
        unknown = (1 - k * k) * self.kind_variance
        contrast = k * self.contrast[row] + (1 - k) * self.contrast[1] + unknown
        labels = k**4 * self.arm_labels_nearby[place.row]
        beta = kind_scale(labels, self.rated)
        return Beliefs(
            quality=k * self.quality[row] + (1 - k) * self.quality[1],
            quality_variance=k * self.variance[row] + (1 - k) * self.variance[1] + unknown,
            learnable=contrast,
            draw_sd=draw_sd(self.arm_variance, contrast - self.contrast[0], beta, self.exploration_rate),
            cost_usd=k * self.cost_usd[row] + (1 - k) * self.cost_usd[0],
            latency_s=k * self.latency_s[row] + (1 - k) * self.latency_s[0],
            arm_labels=labels,
            requests_nearby=0.0 if k < 1 else float(self.requests_nearby[place.row]),
            labels_nearby=float(labels.sum()),
        )

    def summary(self) -> tuple[ArmSummary, ...]:
        """Return what is believed of each arm over all prompts, with 95 % intervals inside [0, 1]."""
        low, high = interval(self.quality[0], self.variance[0])
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
                shadows=sums.shadows,
            )
            for i, (arm, sums) in enumerate(zip(self.arms, self.sums, strict=True))
        )


def interval(mean: Floats, variance: Floats) -> tuple[Floats, Floats]:
    """Return the bounds of the 95 % interval of a score, inside [0, 1]."""
    half = 1.959964 * np.sqrt(variance)
    return np.clip(mean - half, 0, 1), np.clip(mean + half, 0, 1)


def known(value: float) -> float | None:
    """Return a plain float, or None for NaN."""
    return None if np.isnan(value) else float(value)
