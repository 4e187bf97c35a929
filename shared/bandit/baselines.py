"""Baseline policy: every arm on its own, without context and price prior.

r ~ N(q_a, sigma_a^2),   q_a ~ N(OPTIMISTIC_PRIOR, .2^2);   the draw's sd is `scale` times the posterior's
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shared.bandit.arms import Arm, ArmId
from shared.bandit.context import Context
from shared.bandit.decision import Decision
from shared.bandit.evidence import SourceCells, noise_variance
from shared.bandit.mixed import LEVEL_SD
from shared.bandit.policy import PSEUDO_REQUESTS, BanditSettings
from shared.bandit.posterior import GaussianPosterior
from shared.bandit.reward import expect, reliability
from shared.bandit.sources import Source
from shared.bandit.sums import ArmSums, LearnedState
from shared.bandit.thompson import decide


@dataclass(frozen=True, slots=True)
class PooledThompson:
    """Thompson sampling per arm over all prompts."""

    settings: BanditSettings
    scale: float = 0.5
    name: str = "pooled-thompson-1"

    def fit(self, state: LearnedState, arms: Sequence[Arm]) -> GaussianPosterior:
        """Turn sums into a posterior over `arms`."""
        sums = tuple(state.arms.get(arm.id, ArmSums()).total for arm in arms)
        labels, scores = np.array([s.labels for s in sums]), np.array([s.score for s in sums])
        squares = np.array([s.score_sq for s in sums])
        noise = noise_variance(SourceCells(Source.USER, labels[:, None], scores[:, None], squares))
        variance = 1 / (LEVEL_SD**-2 + labels / noise)
        mean = (self.settings.optimistic_prior * LEVEL_SD**-2 + scores / noise) * variance
        expected = expect(arms, sums, PSEUDO_REQUESTS)
        return GaussianPosterior(
            version=state.version,
            arms=tuple(arm.id for arm in arms),
            index={arm.id: i for i, arm in enumerate(arms)},
            sums=sums,
            quality=mean[None],
            variance=variance[None],
            contrast=variance[None],
            arm_variance=self.scale**2 * variance,
            cost_usd=expected.cost_usd[None],
            latency_s=expected.latency_s[None],
            reliability=reliability(sums, PSEUDO_REQUESTS),
            kept=np.ones(len(sums)),
            noise=noise,
            local_gate=False,
            search_share=0.0,
        )

    def decide(
        self, posterior: GaussianPosterior, context: Context, eligible: Sequence[ArmId], rng: np.random.Generator
    ) -> Decision:
        """Rank `eligible`."""
        return decide(posterior, context, eligible, rng, settings=self.settings, policy=self.name)
