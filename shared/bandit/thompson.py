"""Thompson sampling on utility = w_q quality + w_l speed + w_c cost, with exact propensities.

Quality is drawn, cost and speed are taken at their expectation: their spread is small beside it, and they are learned
from every request. Weights act here only, so changing one needs no relearning.

Reference: Thompson (1933); Russo et al., A Tutorial on Thompson Sampling (2018). Departures: the draw's scale
(`exploration.py`), the shift by neighbours (`local.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from shared.bandit.arms import ArmId
from shared.bandit.context import Context
from shared.bandit.decision import ArmView, Decision, DecisionKind, Weights
from shared.bandit.local import local_evidence
from shared.bandit.policy import BanditSettings
from shared.bandit.posterior import GaussianPosterior, known
from shared.bandit.propensity import chance_of_best, normal_cdf, propensities
from shared.bandit.reward import share_of_largest

Floats = NDArray[np.float64]

SAFE_START_CHANCE = 0.95
"""SAFE_START ends where some arm is better than the default one with at least this probability."""


_Facts = tuple[
    ArmId, float, float, float, float, float | None, float | None, float, float, float, float, float
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Weighed:
    """The eligible arms as columns, in the order in which they were given, and what follows from them."""

    arms: tuple[ArmId, ...]
    quality: Floats
    quality_sd: Floats
    draw_sd: Floats
    base: Floats
    reliability: Floats
    cost_usd: Floats
    latency_s: Floats
    cost_terms: Floats
    speed_terms: Floats
    labels: tuple[float, ...]
    utility: Floats
    weights: Weights
    confidences: dict[int, float] = field(default_factory=dict)

    @cached_property
    def utility_sd(self) -> Floats:
        """Standard deviation of each draw of the utility."""
        return self.weights.quality * self.draw_sd

    @cached_property
    def chances(self) -> Floats:
        """Probability that each arm's draw is the largest."""
        return propensities(self.utility, self.utility_sd)

    def confidence(self, chosen: int) -> float:
        """Return the posterior probability that an arm is the best."""
        if chosen not in self.confidences:
            sd = self.weights.quality * self.quality_sd
            self.confidences[chosen] = chance_of_best(self.utility, sd, chosen)
        return self.confidences[chosen]

    @cached_property
    def facts(self) -> list[_Facts]:
        """Return what a view of each arm says besides its shift and its draw."""
        columns = (self.quality, self.quality_sd, self.draw_sd, self.base)
        more = (self.cost_terms, self.speed_terms, self.utility, self.chances)
        prices = ([known(each) for each in column.tolist()] for column in (self.cost_usd, self.latency_s))
        rows = (*(column.tolist() for column in columns), *prices, *(column.tolist() for column in more))
        return list(zip(self.arms, *rows, self.labels, strict=True))


def decide(
    posterior: GaussianPosterior,
    context: Context,
    eligible: Sequence[ArmId],
    rng: np.random.Generator,
    *,
    settings: BanditSettings,
    policy: str,
) -> Decision:
    """Rank `eligible`, with the probability of every one of them."""
    cluster = posterior.cluster_of(context.vector)
    row = posterior.row_of(cluster)
    local = local_evidence(context.neighbours, posterior.quality[row].tolist(), posterior.index, settings)
    weighed = _weigh(posterior, row, tuple(eligible), settings)
    shifts = local.shifts[[posterior.index[arm] for arm in eligible]]
    if posterior.local_gate and shifts.any():
        weighed = _shifted(weighed, shifts)
    draws = weighed.utility + weighed.utility_sd * rng.standard_normal(len(eligible))
    order = np.argsort(-draws, kind="stable")
    default = _safe_start(weighed, eligible, settings)
    if default is not None:
        order = np.concatenate(([default], order[order != default]))
    chosen = int(order[0])
    chance, views = 1.0, tuple[ArmView, ...]()
    if default is None:
        chance = float(weighed.chances[chosen])
        views = _views(weighed, shifts, draws, order)
    kind = _kind(posterior, shifts, default)
    return Decision(
        kind=kind,
        ranked=tuple(eligible[i] for i in order.tolist()),
        propensity=chance,
        confidence=weighed.confidence(chosen),
        reason=_reason(kind, weighed, chosen, float(shifts[chosen])),
        views=views,
        neighbours=local.used,
        weights=settings.weights,
        policy=policy,
        snapshot=posterior.version,
        cluster=cluster,
    )


@lru_cache(maxsize=64)
def _weigh(posterior: GaussianPosterior, row: int, eligible: tuple[ArmId, ...], settings: BanditSettings) -> _Weighed:
    """Weigh without neighbours. Requests of one cluster share it until something is learned: most of a decision."""
    columns = np.array([posterior.index[arm] for arm in eligible])
    base = posterior.quality[row, columns]
    answers = posterior.reliability[columns]
    quality = base * answers
    cost, latency = posterior.cost_usd[row, columns], posterior.latency_s[row, columns]
    cost_terms = share_of_largest(cost)
    speed_terms = np.zeros(len(columns)) if np.isnan(latency).all() else 1.0 - share_of_largest(latency)
    weights = settings.weights
    return _Weighed(
        arms=eligible,
        quality=quality,
        quality_sd=posterior.quality_sd[row, columns] * answers,
        draw_sd=posterior.draw_sd[row, columns] * answers,
        base=base,
        reliability=answers,
        cost_usd=cost,
        latency_s=latency,
        cost_terms=cost_terms,
        speed_terms=speed_terms,
        labels=tuple(posterior.sums[column].labels for column in columns.tolist()),
        utility=weights.quality * quality + weights.latency * speed_terms + weights.cost * cost_terms,
        weights=weights,
    )


def _shifted(weighed: _Weighed, shifts: Floats) -> _Weighed:
    moved = weighed.reliability * shifts
    utility = weighed.utility + weighed.weights.quality * moved
    return replace(weighed, quality=weighed.quality + moved, utility=utility, confidences={})


def _safe_start(weighed: _Weighed, eligible: Sequence[ArmId], settings: BanditSettings) -> int | None:
    """Return the position of the default arm while no other is better with enough certainty."""
    if not settings.safe_start or settings.default_arm not in eligible:
        return None
    default = eligible.index(settings.default_arm)
    sd = np.hypot(weighed.quality_sd, weighed.quality_sd[default]) * settings.weights.quality
    better = normal_cdf((weighed.utility - weighed.utility[default]) / np.maximum(sd, 1e-9))
    better[default] = 0.0
    return default if float(better.max()) < SAFE_START_CHANCE else None


def _views(weighed: _Weighed, shifts: Floats, draws: Floats, order: NDArray[np.intp]) -> tuple[ArmView, ...]:
    facts, shift, draw = weighed.facts, shifts.tolist(), draws.tolist()
    return tuple(_view(facts[i], shift[i], draw[i]) for i in order.tolist())


def _view(facts: _Facts, shift: float, draw: float) -> ArmView:
    arm, quality, sd, draw_sd, base, cost, latency, cost_term, speed_term, utility, chance, labels = facts
    return ArmView(
        arm, quality, sd, draw_sd, base, shift, cost, latency, cost_term, speed_term, utility, draw, chance, labels
    )


def _kind(posterior: GaussianPosterior, shifts: Floats, default: int | None) -> DecisionKind:
    if default is not None:
        return DecisionKind.DEFAULT
    return DecisionKind.LOCAL if posterior.local_gate and shifts.any() else DecisionKind.GLOBAL


def _reason(kind: DecisionKind, weighed: _Weighed, chosen: int, shift: float) -> str:
    arm, labels = weighed.arms[chosen], weighed.labels[chosen]
    belief = (
        f"expected quality {weighed.quality[chosen]:.2f} ± {weighed.quality_sd[chosen]:.2f} from {labels:.0f} ratings"
    )
    if kind is DecisionKind.DEFAULT:
        return f"{arm} is the default model, and no other is better with enough certainty yet."
    if kind is DecisionKind.LOCAL:
        return f"{arm} drew the best utility: {belief}, shifted by {shift:+.2f} for similar requests."
    return f"{arm} drew the best utility: {belief} over all requests."
