"""Thompson sampling on utility = w_q quality + w_l speed + w_c cost, with exact propensities.

Quality is drawn, cost and speed are taken at their expectation: their spread is small beside it, and they are learned
from every request. Weights act here only, so changing one needs no relearning.

Reference: Thompson (1933); Russo et al., A Tutorial on Thompson Sampling (2018). Departures: the draw's scale
(`exploration.py`), the shift by neighbours (`local.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.bandit.arms import ArmId
from shared.bandit.context import Context
from shared.bandit.decision import ArmView, Decision, DecisionKind
from shared.bandit.local import LocalEvidence, local_evidence
from shared.bandit.policy import BanditSettings
from shared.bandit.posterior import GaussianPosterior, known
from shared.bandit.propensity import chance_of_best, normal_cdf, propensities
from shared.bandit.reward import share_of_largest

Floats = NDArray[np.float64]

SAFE_START_CHANCE = 0.95
"""SAFE_START ends where some arm is better than the default one with at least this probability."""


@dataclass(frozen=True, slots=True, eq=False)
class _Weighed:
    """The eligible arms as columns, in the order in which they were given."""

    columns: NDArray[np.intp]
    quality: Floats
    quality_sd: Floats
    draw_sd: Floats
    shifts: Floats
    base: Floats
    cost_usd: Floats
    latency_s: Floats
    cost_terms: Floats
    speed_terms: Floats
    utility: Floats


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
    weighed = _weigh(posterior, row, local, eligible, settings)
    scale = settings.weights.quality
    draws = weighed.utility + scale * weighed.draw_sd * rng.standard_normal(len(eligible))
    order = np.argsort(-draws, kind="stable")
    default = _safe_start(weighed, eligible, settings)
    if default is not None:
        order = np.concatenate(([default], order[order != default]))
    chosen = int(order[0])
    confidence = chance_of_best(weighed.utility, scale * weighed.quality_sd, chosen)
    chances, views = np.ones(len(eligible)), tuple[ArmView, ...]()
    if default is None:
        chances = propensities(weighed.utility, scale * weighed.draw_sd)
        views = _views(posterior, weighed, draws, chances, order)
    kind = _kind(weighed, posterior, default)
    return Decision(
        kind=kind,
        ranked=tuple(eligible[i] for i in order.tolist()),
        propensity=float(chances[chosen]),
        confidence=confidence,
        reason=_reason(kind, eligible[chosen], weighed, chosen, posterior),
        views=views,
        neighbours=local.used,
        weights=settings.weights,
        policy=policy,
        snapshot=posterior.version,
        cluster=cluster,
    )


def _weigh(
    posterior: GaussianPosterior,
    row: int,
    local: LocalEvidence,
    eligible: Sequence[ArmId],
    settings: BanditSettings,
) -> _Weighed:
    columns = np.array([posterior.index[arm] for arm in eligible])
    base, shifts = posterior.quality[row, columns], local.shifts[columns]
    quality = base + shifts if posterior.local_gate else base
    cost, latency = posterior.cost_usd[row, columns], posterior.latency_s[row, columns]
    cost_terms = share_of_largest(cost)
    speed_terms = np.zeros(len(columns)) if np.isnan(latency).all() else 1.0 - share_of_largest(latency)
    weights = settings.weights
    return _Weighed(
        columns=columns,
        quality=quality,
        quality_sd=posterior.quality_sd[row, columns],
        draw_sd=posterior.draw_sd[row, columns],
        shifts=shifts,
        base=base,
        cost_usd=cost,
        latency_s=latency,
        cost_terms=cost_terms,
        speed_terms=speed_terms,
        utility=weights.quality * quality + weights.latency * speed_terms + weights.cost * cost_terms,
    )


def _safe_start(weighed: _Weighed, eligible: Sequence[ArmId], settings: BanditSettings) -> int | None:
    """Return the position of the default arm while no other is better with enough certainty."""
    if not settings.safe_start or settings.default_arm not in eligible:
        return None
    default = eligible.index(settings.default_arm)
    sd = np.hypot(weighed.quality_sd, weighed.quality_sd[default]) * settings.weights.quality
    better = normal_cdf((weighed.utility - weighed.utility[default]) / np.maximum(sd, 1e-9))
    better[default] = 0.0
    return default if float(better.max()) < SAFE_START_CHANCE else None


def _views(
    posterior: GaussianPosterior, weighed: _Weighed, draws: Floats, chances: Floats, order: NDArray[np.intp]
) -> tuple[ArmView, ...]:
    columns = weighed.columns[order].tolist()
    figures = np.stack(
        (
            weighed.quality, weighed.quality_sd, weighed.draw_sd, weighed.base, weighed.shifts,
            weighed.cost_terms, weighed.speed_terms, weighed.utility, draws, chances,
        )
    )[:, order].T.tolist()  # fmt: skip
    costs, latencies = weighed.cost_usd[order].tolist(), weighed.latency_s[order].tolist()
    return tuple(
        ArmView(
            arm=posterior.arms[column],
            quality=quality,
            quality_sd=quality_sd,
            draw_sd=spread,
            base_quality=base,
            local_shift=shift,
            cost_usd=known(cost),
            latency_s=known(latency),
            cost_term=cost_term,
            speed_term=speed_term,
            utility=utility,
            draw=draw,
            propensity=chance,
            labels=posterior.sums[column].labels,
        )
        for column, cost, latency, (
            quality, quality_sd, spread, base, shift, cost_term, speed_term, utility, draw, chance,
        ) in zip(columns, costs, latencies, figures, strict=True)
    )  # fmt: skip


def _kind(weighed: _Weighed, posterior: GaussianPosterior, default: int | None) -> DecisionKind:
    if default is not None:
        return DecisionKind.DEFAULT
    return DecisionKind.LOCAL if posterior.local_gate and weighed.shifts.any() else DecisionKind.GLOBAL


def _reason(kind: DecisionKind, arm: ArmId, weighed: _Weighed, chosen: int, posterior: GaussianPosterior) -> str:
    labels = posterior.sums[int(weighed.columns[chosen])].labels
    belief = (
        f"expected quality {weighed.quality[chosen]:.2f} ± {weighed.quality_sd[chosen]:.2f} from {labels:.0f} ratings"
    )
    if kind is DecisionKind.DEFAULT:
        return f"{arm} is the default model, and no other is better with enough certainty yet."
    if kind is DecisionKind.LOCAL:
        return f"{arm} drew the best utility: {belief}, shifted by {weighed.shifts[chosen]:+.2f} for similar requests."
    return f"{arm} drew the best utility: {belief} over all requests."
