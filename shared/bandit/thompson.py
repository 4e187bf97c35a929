"""Thompson sampling on utility = w_q quality + w_l speed + w_c cost, with exact propensities.

Quality is drawn, cost and speed are taken at their expectation: their spread is small beside it, and they are learned
from every request. Weights act here only, so changing one needs no relearning.

Reference: Thompson (1933); Russo et al., A Tutorial on Thompson Sampling (2018). Departures: the draw's scale
(`exploration.py`), the shift by neighbours (`local.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from shared.bandit import reasons
from shared.bandit.arms import ArmId
from shared.bandit.context import Context
from shared.bandit.decision import ArmView, Decision, DecisionKind
from shared.bandit.exploration import bounded
from shared.bandit.kinds import Place
from shared.bandit.local import local_evidence
from shared.bandit.policy import BanditSettings
from shared.bandit.posterior import Beliefs, GaussianPosterior
from shared.bandit.prompt_kind import prompt_kind
from shared.bandit.propensity import normal_cdf
from shared.bandit.traits import place_of
from shared.bandit.weighing import Weighed, shifted, weigh

SAFE_START_CHANCE = 0.95
"""SAFE_START ends where some arm is better than the default one with at least this probability."""

Bounds = Callable[[int, Beliefs], tuple[float, float]]
"""From the number of eligible arms and the beliefs to the least and the largest share of exploring requests."""


def decide(
    posterior: GaussianPosterior,
    context: Context,
    eligible: Sequence[ArmId],
    rng: np.random.Generator,
    *,
    settings: BanditSettings,
    policy: str,
    bounds: Bounds | None = None,
) -> Decision:
    """Rank `eligible`, with the probability of every one of them.

    `bounds` limits the share of requests that another arm than the best answers; None: no bounds.
    """
    place = place_in(posterior, context)
    weighed = weigh(posterior, place, tuple(eligible), settings.weights)
    beliefs = weighed.beliefs
    local = local_evidence(context.neighbours, beliefs.quality.tolist(), posterior.index, settings)
    shifts = [local.shifts[column] for column in weighed.columns]
    moved = posterior.local_gate and any(shifts)
    if moved:
        weighed = shifted(weighed, shifts, settings.weights)
    normals = rng.standard_normal(len(eligible)).tolist()
    draws = [mean + sd * z for mean, sd, z in zip(weighed.utility, weighed.utility_sds, normals, strict=True)]
    order, chances = sorted(range(len(draws)), key=draws.__getitem__, reverse=True), weighed.chances
    if bounds is not None:
        order, chances = _within(bounds(len(eligible), beliefs), order, chances, weighed, rng)
    kind = DecisionKind.LOCAL if moved else DecisionKind.GLOBAL
    default, certain = _default(weighed, eligible, settings)
    if default is not None:
        drawn = 0.0 if certain else settings.exploration_rate
        if drawn == 0.0 or rng.random() >= drawn:
            order, kind = [default, *(i for i in order if i != default)], DecisionKind.DEFAULT
        chances = [drawn * chance + (1.0 - drawn) * (i == default) for i, chance in enumerate(chances)]
    prompt = prompt_kind(posterior, place, beliefs)
    if certain:
        reason = reasons.safe_start(weighed, order, SAFE_START_CHANCE)
    elif kind is DecisionKind.DEFAULT:
        reason = reasons.uncertain(weighed, order, prompt, settings.min_confidence_score)
    else:
        reason = reasons.chosen(weighed, order, prompt, shifts[order[0]] if moved else None)
    return Decision(
        kind=kind,
        ranked=tuple([eligible[i] for i in order]),
        propensity=chances[order[0]],
        confidence=weighed.confidence(order[0]),
        reason=reason,
        views=() if certain else _views(weighed, shifts, draws, chances, order),
        neighbours=local.used,
        searched=context.searched,
        weights=settings.weights,
        policy=policy,
        snapshot=posterior.version,
        cluster=None if prompt is None else prompt.id,
        kind_size=None if prompt is None else prompt.size,
        kind_requests=beliefs.requests_nearby,
        kind_labels=beliefs.labels_nearby,
        nearness=None if prompt is None else prompt.nearness,
        examples=() if prompt is None else prompt.examples,
    )


def place_in(posterior: GaussianPosterior, context: Context) -> Place | None:
    """Return the prompt's place among the kinds, its nearness in steps of 1/64 so that requests share what follows."""
    kinds = posterior.kinds
    place = None if kinds is None else place_of(kinds, context.vector, context.traits)
    if place is None or place.nearness == 1.0:
        return place
    return Place(place.row, round(place.nearness * 64) / 64, central=False)


def _within(
    limits: tuple[float, float], order: list[int], chances: list[float], weighed: Weighed, rng: np.random.Generator
) -> tuple[list[int], list[float]]:
    """Return the ranking and the probabilities with the share of all arms but `best` moved within `limits`.

    Explores less by following the best arm instead of some draws, more by trying another arm where the draw had the
    best one first; which one, by the draws' own probabilities.
    """
    best, utility = weighed.best, weighed.utility
    allowed = bounded(chances, best, limits)
    before, after = 1.0 - chances[best], 1.0 - allowed[best]
    if after < before and order[0] != best and rng.random() >= after / before:
        order = sorted(range(len(order)), key=utility.__getitem__, reverse=True)
        order = [best, *(i for i in order if i != best)]
    elif after > before and order[0] == best and rng.random() < (after - before) / (1.0 - before):
        others = np.array([0.0 if i == best else chance for i, chance in enumerate(allowed)])
        tried = int(rng.choice(len(others), p=others / others.sum()))
        order = [tried, *(i for i in order if i != tried)]
    return order, allowed


def _default(weighed: Weighed, eligible: Sequence[ArmId], settings: BanditSettings) -> tuple[int | None, bool]:
    """Return the position of DEFAULT_MODEL where it is to answer, and whether for certain (SAFE_START)."""
    if settings.default_arm not in eligible:
        return None, False
    default = eligible.index(settings.default_arm)
    if settings.safe_start and not _surpassed(weighed, default):
        return default, True
    confident = weighed.confidence(weighed.best) >= settings.min_confidence_score
    return (None if confident else default), False


def _surpassed(weighed: Weighed, default: int) -> bool:
    """Tell whether some arm is better than the default one with enough certainty."""
    mean, sd = weighed.utility[default], weighed.belief_sds[default]
    return any(
        normal_cdf((other - mean) / max(math.hypot(spread, sd), 1e-9)) >= SAFE_START_CHANCE
        for other, spread in zip(weighed.utility, weighed.belief_sds, strict=True)
    )


def _views(
    weighed: Weighed, shifts: list[float], draws: list[float], chances: list[float], order: list[int]
) -> tuple[ArmView, ...]:
    quality, utility = weighed.quality, weighed.utility
    views = []
    for i in order:
        arm, sd, draw_sd, base, cost, latency, cost_term, speed_term, labels, predicted_sd = weighed.facts[i]
        means = quality[i], sd, draw_sd, base, shifts[i]
        terms = cost, latency, cost_term, speed_term
        views.append(ArmView(arm, *means, *terms, utility[i], draws[i], chances[i], labels, predicted_sd))
    return tuple(views)
