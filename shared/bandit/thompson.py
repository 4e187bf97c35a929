"""Thompson sampling on utility = w_q quality + w_l speed + w_c cost, with exact propensities.

Quality is drawn, cost and speed are taken at their expectation: their spread is small beside it, and they are learned
from every request. Weights act here only, so changing one needs no relearning.

Reference: Thompson (1933); Russo et al., A Tutorial on Thompson Sampling (2018). Departures: the draw's scale
(`exploration.py`), the shift by neighbours (`local.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from shared.bandit.arms import ArmId
from shared.bandit.change import rating_sd
from shared.bandit.context import Context
from shared.bandit.decision import ArmView, Decision, DecisionKind, Weights
from shared.bandit.exploration import bounded
from shared.bandit.kinds import Kinds, Place
from shared.bandit.local import local_evidence
from shared.bandit.policy import BanditSettings
from shared.bandit.posterior import Beliefs, GaussianPosterior, known
from shared.bandit.propensity import chance_of_best, normal_cdf, win_chances
from shared.bandit.reward import share_of_largest

SAFE_START_CHANCE = 0.95
"""SAFE_START ends where some arm is better than the default one with at least this probability."""

Bounds = Callable[[int, Beliefs], tuple[float, float]]
"""From the number of eligible arms and the beliefs to the least and the largest share of exploring requests."""


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
    rating_sd: float


@dataclass(frozen=True, slots=True, eq=False)
class _Weighed:
    """Eligible arms in the given order, with values derived from them.

    Plain floats: on a dozen of them a call of numpy costs more than all its sums.

    Attributes:
        beliefs: of all arms.
        columns: of the posterior.
        utility_sds: of the draws; `belief_sds`: of what is believed of the utility.
        chances: that each arm's draw is the largest.
        best: position of the arm of the largest mean utility.
        confidences: posterior probability that an arm is the best, of those that were chosen so far.
    """

    beliefs: Beliefs
    facts: list[_Facts]
    columns: list[int]
    quality: list[float]
    utility: list[float]
    utility_sds: list[float]
    belief_sds: list[float]
    reliability: list[float]
    chances: list[float]
    best: int
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
    bounds: Bounds | None = None,
) -> Decision:
    """Rank `eligible`, with the probability of every one of them.

    `bounds` limits the share of requests that another arm than the best answers; None: no bounds.
    """
    place = _place(posterior, context)
    weighed = _weigh(posterior, place, tuple(eligible), settings.weights)
    beliefs = weighed.beliefs
    local = local_evidence(context.neighbours, beliefs.quality.tolist(), posterior.index, settings)
    shifts = [local.shifts[column] for column in weighed.columns]
    moved = posterior.local_gate and any(shifts)
    if moved:
        weighed = _shifted(weighed, shifts, settings.weights)
    normals = rng.standard_normal(len(eligible)).tolist()
    draws = [mean + sd * z for mean, sd, z in zip(weighed.utility, weighed.utility_sds, normals, strict=True)]
    order = sorted(range(len(draws)), key=draws.__getitem__, reverse=True)
    chances, best = weighed.chances, weighed.best
    if bounds is not None:
        limits = bounds(len(eligible), beliefs)
        order, chances = _within(limits, order, chances, best, weighed.utility, rng)
    kind = DecisionKind.LOCAL if moved else DecisionKind.GLOBAL
    default, certain = _default(weighed, eligible, settings)
    if default is not None:
        drawn = 0.0 if certain else settings.exploration_rate
        if drawn == 0.0 or rng.random() >= drawn:
            order = [default, *(i for i in order if i != default)]
            kind = DecisionKind.DEFAULT
        chances = [drawn * chance + (1.0 - drawn) * (i == default) for i, chance in enumerate(chances)]
    chosen = order[0]
    kinds = posterior.kinds
    known = place is not None and kinds is not None
    return Decision(
        kind=kind,
        ranked=tuple([eligible[i] for i in order]),
        propensity=chances[chosen],
        confidence=weighed.confidence(chosen),
        reason=reason(kind, weighed, order, shifts[chosen], place),
        views=() if certain else _views(weighed, shifts, draws, chances, order),
        neighbours=local.used,
        weights=settings.weights,
        policy=policy,
        snapshot=posterior.version,
        cluster=(kinds.generation, kinds.ids[place.row]) if known else None,
        kind_requests=beliefs.requests_nearby,
        kind_labels=beliefs.labels_nearby,
        nearness=place.nearness if known else None,
        examples=_examples(kinds, place) if known else (),
    )


def _place(posterior: GaussianPosterior, context: Context) -> Place | None:
    """Return the prompt's place among the kinds, its nearness in steps of 1/64 so that requests share what follows."""
    place = None if posterior.kinds is None else posterior.kinds.place(context.vector)
    if place is None or place.nearness == 1.0:
        return place
    return Place(place.row, round(place.nearness * 64) / 64)


def _examples(kinds: Kinds, place: Place) -> tuple[str, ...]:
    return tuple([example.request_id for example in kinds.examples.get(kinds.ids[place.row], ())])


@lru_cache(maxsize=256)
def _weigh(
    posterior: GaussianPosterior, place: Place | None, eligible: tuple[ArmId, ...], weights: Weights
) -> _Weighed:
    """Weigh without neighbours. Requests of one kind share it until something is learned."""
    beliefs = posterior.at(place)
    columns = [posterior.index[arm] for arm in eligible]
    base, answers = beliefs.quality[columns], posterior.reliability[columns]
    variance = beliefs.quality_variance[columns]
    quality, quality_sd = base * answers, np.sqrt(variance) * answers
    draw_sd = beliefs.draw_sd[columns] * answers
    cost, latency = beliefs.cost_usd[columns], beliefs.latency_s[columns]
    cost_terms = share_of_largest(cost)
    speed_terms = np.zeros(len(columns)) if np.isnan(latency).all() else 1.0 - share_of_largest(latency)
    facts = zip(
        eligible,
        *(column.tolist() for column in (quality_sd, draw_sd, base)),
        *([known(each) for each in column.tolist()] for column in (cost, latency)),
        *(column.tolist() for column in (cost_terms, speed_terms)),
        [posterior.sums[column].labels for column in columns],
        map(rating_sd, posterior.noise[columns].tolist(), variance.tolist()),
        strict=True,
    )
    utility = (weights.quality * quality + weights.latency * speed_terms + weights.cost * cost_terms).tolist()
    utility_sds = (weights.quality * draw_sd).tolist()
    return _Weighed(
        beliefs=beliefs,
        facts=[_Facts(*each) for each in facts],
        columns=columns,
        quality=quality.tolist(),
        utility=utility,
        utility_sds=utility_sds,
        belief_sds=(weights.quality * quality_sd).tolist(),
        reliability=answers.tolist(),
        chances=win_chances(utility, utility_sds),
        best=utility.index(max(utility)),
        confidences={},
    )


def _shifted(weighed: _Weighed, shifts: list[float], weights: Weights) -> _Weighed:
    moved = [answers * shift for answers, shift in zip(weighed.reliability, shifts, strict=True)]
    utility = [mean + weights.quality * more for mean, more in zip(weighed.utility, moved, strict=True)]
    return replace(
        weighed,
        quality=[mean + more for mean, more in zip(weighed.quality, moved, strict=True)],
        utility=utility,
        chances=win_chances(utility, weighed.utility_sds),
        best=utility.index(max(utility)),
        confidences={},
    )


def _within(
    limits: tuple[float, float],
    order: list[int],
    chances: list[float],
    best: int,
    utility: list[float],
    rng: np.random.Generator,
) -> tuple[list[int], list[float]]:
    """Return the ranking and the probabilities with the share of all arms but `best` moved within `limits`.

    Explores less by following the best arm instead of some draws, more by trying another arm where the draw had the
    best one first; which one, by the draws' own probabilities.
    """
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


def _default(weighed: _Weighed, eligible: Sequence[ArmId], settings: BanditSettings) -> tuple[int | None, bool]:
    """Return the position of DEFAULT_MODEL where it is to answer, and whether for certain (SAFE_START)."""
    if settings.default_arm not in eligible:
        return None, False
    default = eligible.index(settings.default_arm)
    if settings.safe_start and not _surpassed(weighed, default):
        return default, True
    confident = weighed.confidence(weighed.best) >= settings.min_confidence_score
    return (None if confident else default), False


def _surpassed(weighed: _Weighed, default: int) -> bool:
    """Tell whether some arm is better than the default one with enough certainty."""
    mean, sd = weighed.utility[default], weighed.belief_sds[default]
    return any(
        normal_cdf((other - mean) / max(math.hypot(spread, sd), 1e-9)) >= SAFE_START_CHANCE
        for other, spread in zip(weighed.utility, weighed.belief_sds, strict=True)
    )


def _views(
    weighed: _Weighed, shifts: list[float], draws: list[float], chances: list[float], order: list[int]
) -> tuple[ArmView, ...]:
    quality, utility = weighed.quality, weighed.utility
    views = []
    for i in order:
        arm, sd, draw_sd, base, cost, latency, cost_term, speed_term, labels, predicted_sd = weighed.facts[i]
        of_prompt = utility[i], draws[i], chances[i]
        views.append(
            ArmView(
                arm, quality[i], sd, draw_sd, base, shifts[i], cost, latency, cost_term, speed_term, *of_prompt, labels,
                predicted_sd,
            )  # fmt: skip
        )
    return tuple(views)


def reason(kind: DecisionKind, weighed: _Weighed, order: list[int], shift: float, place: Place | None) -> str:
    """Return one sentence for a person: what was expected of the chosen arm and of the runner-up, on what evidence."""
    facts, beliefs = weighed.facts[order[0]], weighed.beliefs
    if kind is DecisionKind.DEFAULT:
        return f"{facts.arm} is the default model, and no other is better with enough certainty yet."
    belief = f"expected quality {weighed.quality[order[0]]:.2f} ± {facts.quality_sd:.2f} from {facts.labels:.0f} ratings"
    if place is None:
        evidence = " over all requests"
    elif place.nearness < 1.0:
        evidence = ", for a new kind of prompt"
    else:
        evidence = f", {beliefs.labels_nearby:.0f} of all models on similar prompts"
    moved = f", shifted by {shift:+.2f} for similar requests" if kind is DecisionKind.LOCAL else ""
    runner_up = ""
    if len(order) > 1:
        second = weighed.facts[order[1]]
        runner_up = f"; next {second.arm} with {weighed.quality[order[1]]:.2f} ± {second.quality_sd:.2f}"
    return f"{facts.arm} drew the best utility: {belief}{evidence}{moved}{runner_up}."
