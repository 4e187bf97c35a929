"""Evaluation plan: which other models answer a prompt beside the one that serves it, and how likely that was.

    probability = expected regret / (ASK_AT x cost of the models asked / cost of the one that serves),   at most 1

The expected regret is E[max U - U of the best-looking model] over what more scores could still tell, for this kind of
prompt. An answer beside the user's path lowers it by about its own size over twice the scores there are, for as many
requests as there have been; it pays as long as that is more than its cost. So the share of requests that are worth a
race is in proportion to the regret. It falls by itself as models are told apart, and rises by itself for a new kind of
prompt, a model with little evidence, or after a fall. New models are asked each time, all on the same prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from shared.bandit.arms import ArmId
from shared.bandit.context import Context
from shared.bandit.decision import Decision, Weights
from shared.bandit.kinds import Place
from shared.bandit.posterior import GaussianPosterior
from shared.bandit.thompson import place_in
from shared.bandit.weighing import weigh

DRAWS = 200
"""Of every model's utility, to find the models that may be the best."""
ASK_AT = 0.1
"""Expected regret, in units of quality, at which a race is run each time if it costs as much as the served answer."""

MOST_LIKELY, LEAST_CHANCE = 2, 0.02
"""So many other models are asked, those most likely to be the best, if they are with so much probability."""

NEW_TRIES = 15.0
"""A model with fewer scores and failed calls than this is asked each time."""


class EvaluationReason(StrEnum):
    """Why a request is evaluated."""

    RACE = "race"  # choosing here may still be wrong: other models answer beside it
    SAMPLE = "sample"  # the small share that goes on at rest; the served answer alone is scored


class EvaluationPlan(Struct, frozen=True):
    """Plan of one request's evaluation, as it is recorded.

    Attributes:
        arms: the models that answer beside the one that serves; empty where only the served answer is scored.
        probability: that a request like this one is evaluated.
        expected_regret: of serving the best-looking model here, in utility.
    """

    reason: EvaluationReason
    arms: tuple[ArmId, ...]
    probability: float
    expected_regret: float = 0.0


@dataclass(frozen=True, slots=True)
class EvaluationTerms:
    """Limits of the operator: largest share of requests that are evaluated, and the share that is at rest."""

    max_share: float = 1.0
    rest_share: float = 0.02


def plan_evaluation(
    posterior: GaussianPosterior,
    context: Context,
    eligible: Sequence[ArmId],
    decision: Decision,
    rng: np.random.Generator,
    *,
    weights: Weights,
    terms: EvaluationTerms,
) -> EvaluationPlan | None:
    """Return the evaluation of a request that `decision` was made for; None for no evaluation.

    `eligible` are the models that can answer the request and may be asked.
    """
    race = _race(posterior, place_in(posterior, context), tuple(eligible), weights)
    regret = race.regret
    new = [arm for arm in race.new if arm != decision.arm]
    likely = [arm for arm in race.likely if arm != decision.arm][:MOST_LIKELY]
    asked = tuple(dict.fromkeys((*likely, *new)))
    price = _relative_cost(posterior, decision.arm, asked)
    wanted = 1.0 if new else min(regret / (ASK_AT * price), 1.0) if price > 0 else 0.0
    racing = min(wanted, terms.max_share)
    resting = min(terms.rest_share, terms.max_share)
    drawn = rng.random()
    if drawn < racing:
        return EvaluationPlan(EvaluationReason.RACE, asked, racing, regret)
    if drawn < resting:
        return EvaluationPlan(EvaluationReason.SAMPLE, (), resting - racing, regret)
    return None


class _Race(NamedTuple):
    """What the models' beliefs say of one kind of prompt.

    Attributes:
        regret: expected, of the best-looking model.
        likely: models that may be the best, most probable first.
        new: models with few tries.
    """

    regret: float
    likely: tuple[ArmId, ...]
    new: tuple[ArmId, ...]


@lru_cache(maxsize=256)
def _race(posterior: GaussianPosterior, place: Place | None, eligible: tuple[ArmId, ...], weights: Weights) -> _Race:
    """Draw the models' utilities. Requests of one kind share it until something is learned: it takes 150 us."""
    weighed = weigh(posterior, place, eligible, weights)
    spread = weights.quality * np.sqrt(weighed.beliefs.learnable[weighed.columns])
    rng = np.random.default_rng(DRAWS)
    draws = weighed.utility + spread * rng.standard_normal((DRAWS, len(eligible)))
    regret = float((draws.max(axis=1) - draws[:, weighed.best]).mean()) / max(weights.quality, 1e-9)
    wins = np.bincount(draws.argmax(axis=1), minlength=len(eligible)) / DRAWS
    order = np.argsort(-wins, kind="stable").tolist()
    tried = posterior.labels + [one.failures for one in posterior.sums]
    return _Race(
        regret,
        tuple(eligible[i] for i in order if wins[i] >= LEAST_CHANCE),
        tuple(eligible[i] for i in order if tried[weighed.columns[i]] < NEW_TRIES),
    )


def _relative_cost(posterior: GaussianPosterior, served: ArmId, asked: Sequence[ArmId]) -> float:
    """Return the expected cost of the answers of `asked`, in units of that of `served`; unknown and free count as 1."""
    cost = dict(zip(posterior.arms, posterior.cost_usd[0].tolist(), strict=True))
    usual = cost.get(served, math.nan)
    if not usual > 0:  # free, or not known (NaN)
        return float(len(asked))
    return sum(cost[arm] / usual if cost[arm] >= 0 else 1.0 for arm in asked)
