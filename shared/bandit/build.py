"""Factory of the product's policy."""

from __future__ import annotations

from shared.bandit.mixed_thompson import MixedThompson
from shared.bandit.policy import BanditSettings, Policy
from shared.bandit.posterior import GaussianPosterior


def build_policy(settings: BanditSettings) -> Policy[GaussianPosterior]:
    """Return the policy that the gateway, the replay and the tests run."""
    return MixedThompson(settings)
