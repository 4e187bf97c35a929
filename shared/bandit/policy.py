"""Policy port: learned state in, decision out. Implementations are pure and hold only their settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from shared.bandit.arms import Arm, ArmId
from shared.bandit.context import Context
from shared.bandit.decision import Decision, Weights
from shared.bandit.sums import LearnedState

PSEUDO_REQUESTS = 10.0
"""Requests' worth of the priors of cost, latency and reliability."""

DEFAULT_WEIGHTS = Weights(quality=0.6, latency=0.2, cost=-0.2)


@dataclass(frozen=True, slots=True)
class BanditSettings:
    """Settings of the bandit; docs/configuration.md describes each."""

    weights: Weights = DEFAULT_WEIGHTS
    exploration_rate: float = 0.1
    similarity_threshold: float = 0.7
    max_similar_requests: int = 50
    min_similar_requests: int = 5
    min_confidence_score: float = 0.1
    optimistic_prior: float = 0.8
    exploration_bonus: float = 0.1
    min_requests_for_global: int = 10
    default_arm: ArmId | None = None
    safe_start: bool = False


@dataclass(frozen=True, slots=True)
class ArmSummary:
    """Summary of one arm for `GET /arms`: evidence, quality with its 95 % interval, cost, latency, reliability.

    `kept` is the share of its ratings that still counts: below 1 since it was seen to become worse. `shadows` are
    answers beside the users' path.
    """

    arm: ArmId
    labels: float
    requests: float
    failures: float
    quality: float
    quality_low: float
    quality_high: float
    cost_usd: float | None
    latency_s: float | None
    reliability: float = 1.0
    kept: float = 1.0
    shadows: float = 0.0


class Posterior(Protocol):
    """A fitted state, cached by the gateway between refreshes."""

    @property
    def version(self) -> str:
        """Version of the learned state it was fitted to."""
        ...

    def summary(self) -> tuple[ArmSummary, ...]:
        """Return one summary per arm."""
        ...


P = TypeVar("P", bound=Posterior)


class Policy(Protocol[P]):
    """How the router chooses.

    `fit` may take milliseconds and runs off the request's way; `decide` is on it. Both are deterministic given their
    arguments, `rng` included.
    """

    @property
    def name(self) -> str:
        """Name and version of the algorithm, as it stands in every decision."""
        ...

    def fit(self, state: LearnedState, arms: Sequence[Arm]) -> P:
        """Turn sums into a posterior over `arms`; arms without sums get the prior, sums without arms are ignored."""
        ...

    def decide(self, posterior: P, context: Context, eligible: Sequence[ArmId], rng: np.random.Generator) -> Decision:
        """Rank `eligible` (at least one, all known to `posterior`), with exact propensities that sum to 1."""
        ...
