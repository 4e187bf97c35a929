"""Thompson sampling on utility = w_q quality + w_l speed + w_c cost, with exact propensities.

Quality is drawn, cost and speed are taken at their expectation: their spread is small beside it, and they are learned
from every request. Weights act here only, so changing one needs no relearning.

Reference: Thompson (1933); Russo et al., A Tutorial on Thompson Sampling (2018). Departures: the draw's scale
(`exploration.py`), the shift by neighbours (`local.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from shared.bandit.arms import ArmId
from shared.bandit.context import Context
from shared.bandit.decision import ArmView, Decision, DecisionKind, Weights
from shared.bandit.local import local_evidence
from shared.bandit.policy import BanditSettings
from shared.bandit.posterior import GaussianPosterior, known
from shared.bandit.propensity import chance_of_best, normal_cdf, win_chances
from shared.bandit.reward import share_of_largest

SAFE_START_CHANCE = 0.95
"""SAFE_START ends where some arm is better than the default one with at least this probability."""


class _Facts(NamedTuple):
    """Facts of a view that do not depend on neighbours."""

    arm: ArmId
    quality_sd: float
    draw_sd: float
    base_quality: float
    cost_usd: float | None
    latency_s: float | None
    cost_term: float
    speed_term: float
    labels: float


@dataclass(frozen=True, slots=True, eq=False)
class _Weighed:
    """Eligible arms in the given order, with values derived from them.

    Plain floats: on a dozen of them a call of numpy costs more than all its sums.

    Attributes:
        columns: of the posterior.
        utility_sds: of the draws; `belief_sds`: of what is believed of the utility.
        chances: that each arm's draw is the largest.
        confidences: posterior probability that an arm is the best, of those that were chosen so far.
    """

    facts: list[_Facts]
    columns: list[int]
    quality: list[float]
    utility: list[float]
    utility_sds: list[float]
    belief_sds: list[float]
    reliability: list[float]
    chances: list[float]
    confidences: dict[int, float]

    def confidence(self, chosen: int) -> float:
        """Return the posterior probability that an arm is the best."""
        if chosen not in self.confidences:
            self.confidences[chosen] = chance_of_best(self.utility, self.belief_sds, chosen)
        return self.confidences[chosen]


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
    weighed = _weigh(posterior, row, tuple(eligible), settings.weights)
    shifts = [local.shifts[column] for column in weighed.columns]
    moved = posterior.local_gate and any(shifts)
    if moved:
        weighed = _shifted(weighed, shifts, settings.weights)
    normals = rng.standard_normal(len(eligible)).tolist()
    draws = [mean + sd * z for mean, sd, z in zip(weighed.utility, weighed.utility_sds, normals, strict=True)]
    order = sorted(range(len(draws)), key=draws.__getitem__, reverse=True)
    kind = DecisionKind.LOCAL if moved else DecisionKind.GLOBAL
    default = _safe_start(weighed, eligible, settings)
    if default is not None:
        order = [default, *(i for i in order if i != default)]
        kind = DecisionKind.DEFAULT
    chosen = order[0]
    return Decision(
        kind=kind,
        ranked=tuple([eligible[i] for i in order]),
        propensity=weighed.chances[chosen] if default is None else 1.0,
        confidence=weighed.confidence(chosen),
        reason=_reason(kind, weighed, chosen, shifts[chosen]),
        views=_views(weighed, shifts, draws, order) if default is None else (),
        neighbours=local.used,
        weights=settings.weights,
        policy=policy,
        snapshot=posterior.version,
        cluster=cluster,
    )


@lru_cache(maxsize=64)
def _weigh(posterior: GaussianPosterior, row: int, eligible: tuple[ArmId, ...], weights: Weights) -> _Weighed:
    """Weigh without neighbours. Requests of one cluster share it until something is learned."""
    columns = [posterior.index[arm] for arm in eligible]
    base, answers = posterior.quality[row, columns], posterior.reliability[columns]
    quality, quality_sd = base * answers, posterior.quality_sd[row, columns] * answers
    draw_sd = posterior.draw_sd[row, columns] * answers
    cost, latency = posterior.cost_usd[row, columns], posterior.latency_s[row, columns]
    cost_terms = share_of_largest(cost)
    speed_terms = np.zeros(len(columns)) if np.isnan(latency).all() else 1.0 - share_of_largest(latency)
    facts = zip(
        eligible,
        *(column.tolist() for column in (quality_sd, draw_sd, base)),
        *([known(each) for each in column.tolist()] for column in (cost, latency)),
        *(column.tolist() for column in (cost_terms, speed_terms)),
        [posterior.sums[column].labels for column in columns],
        strict=True,
    )
    utility = (weights.quality * quality + weights.latency * speed_terms + weights.cost * cost_terms).tolist()
    utility_sds = (weights.quality * draw_sd).tolist()
    return _Weighed(
        facts=[_Facts(*each) for each in facts],
        columns=columns,
        quality=quality.tolist(),
        utility=utility,
        utility_sds=utility_sds,
        belief_sds=(weights.quality * quality_sd).tolist(),
        reliability=answers.tolist(),
        chances=win_chances(utility, utility_sds),
        confidences={},
    )


def _shifted(weighed: _Weighed, shifts: list[float], weights: Weights) -> _Weighed:
    moved = [answers * shift for answers, shift in zip(weighed.reliability, shifts, strict=True)]
    utility = [mean + weights.quality * more for mean, more in zip(weighed.utility, moved, strict=True)]
    return _Weighed(
        facts=weighed.facts,
        columns=weighed.columns,
        quality=[mean + more for mean, more in zip(weighed.quality, moved, strict=True)],
        utility=utility,
        utility_sds=weighed.utility_sds,
        belief_sds=weighed.belief_sds,
        reliability=weighed.reliability,
        chances=win_chances(utility, weighed.utility_sds),
        confidences={},
    )


def _safe_start(weighed: _Weighed, eligible: Sequence[ArmId], settings: BanditSettings) -> int | None:
    """Return the position of the default arm while no other is better with enough certainty."""
    if not settings.safe_start or settings.default_arm not in eligible:
        return None
    default = eligible.index(settings.default_arm)
    mean, sd = weighed.utility[default], weighed.belief_sds[default]
    for other, spread in zip(weighed.utility, weighed.belief_sds, strict=True):
        if normal_cdf((other - mean) / max(math.hypot(spread, sd), 1e-9)) >= SAFE_START_CHANCE:
            return None
    return default


def _views(weighed: _Weighed, shifts: list[float], draws: list[float], order: list[int]) -> tuple[ArmView, ...]:
    quality, utility, chances = weighed.quality, weighed.utility, weighed.chances
    views = []
    for i in order:
        arm, sd, draw_sd, base, cost, latency, cost_term, speed_term, labels = weighed.facts[i]
        of_prompt = utility[i], draws[i], chances[i]
        views.append(
            ArmView(
                arm, quality[i], sd, draw_sd, base, shifts[i], cost, latency, cost_term, speed_term, *of_prompt, labels
            )
        )
    return tuple(views)


def _reason(kind: DecisionKind, weighed: _Weighed, chosen: int, shift: float) -> str:
    facts = weighed.facts[chosen]
    if kind is DecisionKind.DEFAULT:
        return f"{facts.arm} is the default model, and no other is better with enough certainty yet."
    belief = f"expected quality {weighed.quality[chosen]:.2f} ± {facts.quality_sd:.2f} from {facts.labels:.0f} ratings"
    if kind is DecisionKind.LOCAL:
        return f"{facts.arm} drew the best utility: {belief}, shifted by {shift:+.2f} for similar requests."
    return f"{facts.arm} drew the best utility: {belief} over all requests."
