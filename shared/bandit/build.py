"""The product's policy: the one place that names it."""

from __future__ import annotations

from shared.bandit.policy import BanditSettings, Policy
from shared.bandit.posterior import GaussianPosterior
from shared.bandit.thompson import PooledThompson


def build_policy(settings: BanditSettings) -> Policy[GaussianPosterior]:
    """Return the policy that the gateway, the replay and the tests run."""
    return PooledThompson(settings)
