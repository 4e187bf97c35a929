"""Posterior cache: the learned state, read and fitted in the background, so that no request waits for Redis.

A state that fails validation is refused and the last good one kept: it is input, and input can be wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from services.gateway.models.catalogue import Catalogue
from services.gateway.models.policies import DecisionTerms
from shared.bandit.arms import Arm, ArmId
from shared.bandit.context import Context
from shared.bandit.decision import Decision
from shared.bandit.evaluation import expected_utilities
from shared.bandit.lift import Lift, measured_lift
from shared.bandit.policy import BanditSettings, Policy
from shared.bandit.posterior import GaussianPosterior
from shared.bandit.sums import NOTHING_LEARNED, LearnedState
from shared.errors import CorruptState
from shared.metrics import GatewayMetrics
from shared.ports import Clock, PosteriorStore

REFRESH_S = 0.5
STALE_S = 5.0
"""Older than this, decisions are marked as degraded: what was learned since is missing."""

MakePolicy = Callable[[BanditSettings], Policy[Any]]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A policy with its posterior, fitted to one version of the state and one list of arms."""

    policy: Policy[Any]
    posterior: GaussianPosterior
    arms: tuple[Arm, ...]
    default: ArmId | None
    version: str
    settings: BanditSettings
    make_policy: MakePolicy
    state: LearnedState = NOTHING_LEARNED
    _by_rate: dict[float, GaussianPosterior] = field(init=False, default_factory=dict)

    @cached_property
    def covered(self) -> frozenset[ArmId]:
        """The arms of the posterior."""
        return frozenset(arm.id for arm in self.arms)

    def knows(self, arm: ArmId) -> bool:
        """Return whether the posterior covers `arm`."""
        return arm in self.covered

    @cached_property
    def best_first(self) -> tuple[ArmId, ...]:
        """The arms by their expected utility over all traffic."""
        return tuple(expected_utilities(self.posterior.summary(), self.settings.weights))

    @cached_property
    def lift(self) -> Lift | None:
        """What routing gains over the control group; None without one."""
        dearest = max((one.cost_usd or 0.0 for one in self.posterior.summary()), default=0.0)
        return measured_lift(self.state.arms.values(), self.settings.weights, dearest)

    def decide(
        self,
        context: Context,
        eligible: tuple[ArmId, ...],
        rng: np.random.Generator,
        terms: DecisionTerms | None = None,
        default: ArmId | None = None,
    ) -> Decision:
        """Return the policy's decision among `eligible`, under the caller's terms, whose default arm is `default`."""
        if terms is None:
            return self.policy.decide(self.posterior, context, eligible, rng)
        rate = self.settings.exploration_rate if terms.policy.exploration is None else terms.policy.exploration
        settings = replace(
            self.settings,
            weights=terms.weights(self.settings.weights),
            exploration_rate=rate,
            default_arm=default,
        )
        return self.make_policy(settings).decide(self._explored_at(rate), context, eligible, rng)

    def _explored_at(self, rate: float) -> GaussianPosterior:
        """Return the posterior at that exploration rate, the same object each time: other caches use it as a key."""
        if rate == self.posterior.exploration_rate:
            return self.posterior
        if rate not in self._by_rate:
            self._by_rate[rate] = replace(self.posterior, exploration_rate=rate)
        return self._by_rate[rate]


@dataclass(eq=False, repr=False)
class PosteriorCache:
    """Keeps the latest valid snapshot."""

    store: PosteriorStore
    catalogue: Catalogue
    make_policy: MakePolicy
    settings: BanditSettings
    _: KW_ONLY
    clock: Clock
    metrics: GatewayMetrics
    load_timeout_s: float
    _loaded_at: float | None = field(init=False, default=None)
    snapshot: Snapshot | None = field(init=False, default=None)
    refused: str | None = field(init=False, default=None)
    asked: bool = field(init=False, default=False)

    @property
    def age_s(self) -> float | None:
        """Seconds since the state was last read and found good; None if never."""
        return None if self._loaded_at is None else self.clock.monotonic() - self._loaded_at

    @property
    def stale(self) -> bool:
        """Whether decisions made now miss what has been learned lately."""
        age = self.age_s
        return age is None or age > STALE_S

    async def refresh(self) -> None:
        """Read the state, and fit anew if it or the arms have changed.

        Raises DependencyError, TimeoutError or CorruptState; the last good snapshot stays.
        """
        try:
            async with asyncio.timeout(self.load_timeout_s):
                state = await self.store.load()
            arms, default = self.catalogue.arms, self.catalogue.default
            old = self.snapshot
            if old is None or (old.version, old.arms, old.default) != (state.version, arms, default):
                settings = replace(self.settings, default_arm=default)
                policy = old.policy if old is not None and old.default == default else self.make_policy(settings)
                # A fit is milliseconds of numpy; in the event loop it would be a stall for every open stream.
                posterior = await asyncio.to_thread(policy.fit, state, arms)
                self.snapshot = Snapshot(
                    policy, posterior, arms, default, state.version, settings, self.make_policy, state
                )
        except CorruptState as error:
            self.refused = str(error)
            self.metrics.snapshot_refused.inc()
            raise
        finally:
            self.asked = True
        self._loaded_at = self.clock.monotonic()
        self.refused = None
