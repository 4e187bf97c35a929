"""Evaluation plan: which other models answer a prompt beside the one that serves it, and how likely that was.

    probability of asking a = expected gain of knowing a / (ASK_AT x cost of its evaluation),   at most 1

The cost is that of the answer of a and of the judge, in units of the answer that is served. The expected gain is
E[max(U_a - U of the best-looking model, 0)] over what more scores could still tell, for this kind of prompt; of the
best-looking model it is the expected regret, E[max U - U of it]. An answer beside the user's path brings a part of the
gain, for as many requests as there have been; it pays as long as that is more than its cost. So the spending, as a
share of the bill of serving, is in proportion to the gains, also while verdicts are late: dear models are asked seldom
even if nothing is known of them. It falls by itself as models are told apart, and rises by itself for a new kind of
prompt, a model with little evidence, or after a fall.

One random number decides for all models, so that those asked seldom are asked on prompts that the others answer, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

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
ASK_AT = 0.07
"""Expected gain, in units of quality, at which a model is asked each time if that costs as much as serving."""


class EvaluationReason(StrEnum):
    """Why a request is evaluated."""

    RACE = "race"  # choosing here may still be wrong: other models answer beside it
    SAMPLE = "sample"  # the small share that goes on at rest; the served answer alone is scored


class EvaluationPlan(Struct, frozen=True):
    """Plan of one request's evaluation, as it is recorded.

    Attributes:
        arms: the models that answer beside the one that serves; empty where only the served answer is scored.
        probability: that a request like this one is evaluated.
        expected_regret: of serving the best-looking model here, in units of quality.
    """

    reason: EvaluationReason
    arms: tuple[ArmId, ...]
    probability: float
    expected_regret: float = 0.0


@dataclass(frozen=True, slots=True)
class EvaluationTerms:
    """Limits of the operator: largest share of requests that are evaluated, and the share that is at rest.

    The share at rest is less where a verdict costs more than the served answer, so that it is one of the cost, too.
    """

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
    judge_usd: float,
) -> EvaluationPlan | None:
    """Return the evaluation of a request that `decision` was made for; None for no evaluation.

    `eligible` are the models that can answer the request and may be asked; `judge_usd` is the cost of a verdict.
    """
    race = _race(posterior, place_in(posterior, context), tuple(eligible), weights)
    judge, answers = _relative_costs(posterior, decision.arm, judge_usd)
    wanted = {
        arm: min(gain / max(ASK_AT * (answers[arm] + judge), 1e-9), terms.max_share)
        for arm, gain in race.items()
        if arm != decision.arm
    }
    racing = max(wanted.values(), default=0.0)
    resting = min(terms.rest_share / max(judge, 1.0), terms.max_share)
    drawn = rng.random()
    if drawn < racing:
        asked = tuple(arm for arm, share in wanted.items() if drawn < share)
        return EvaluationPlan(EvaluationReason.RACE, asked, racing, max(race.values()))
    if drawn < resting:
        return EvaluationPlan(EvaluationReason.SAMPLE, (), resting - racing, max(race.values()))
    return None


@lru_cache(maxsize=256)
def _race(
    posterior: GaussianPosterior, place: Place | None, eligible: tuple[ArmId, ...], weights: Weights
) -> Mapping[ArmId, float]:
    """Return the expected gain of knowing the utility of each model, in units of quality.

    A score is at most 1: a model that costs more than a perfect score would be worth wins no draw. Requests of one kind
    share the result until something is learned: it takes 150 us.
    """
    weighed = weigh(posterior, place, eligible, weights)
    quality, most = np.array(weighed.quality), np.array(weighed.reliability)
    spread = np.sqrt(weighed.beliefs.learnable[weighed.columns])
    rng = np.random.default_rng(DRAWS)
    drawn = np.minimum(quality + spread * rng.standard_normal((DRAWS, len(eligible))), most)
    utility = weighed.utility + weights.quality * (drawn - quality)
    above = np.maximum(utility - utility[:, weighed.best, None], 0.0)
    gains = above.mean(axis=0)
    gains[weighed.best] = above.max(axis=1).mean()
    return dict(zip(eligible, (gains / max(weights.quality, 1e-9)).tolist(), strict=True))


def _relative_costs(posterior: GaussianPosterior, served: ArmId, judge_usd: float) -> tuple[float, dict[ArmId, float]]:
    """Return the cost of a verdict, and that of an answer of each model, in units of that of `served`.

    Unknown costs count as 1, and so do all where `served` is free or unknown.
    """
    cost = dict(zip(posterior.arms, posterior.cost_usd[0].tolist(), strict=True))
    usual = cost.get(served, math.nan)
    if not usual > 0:  # free, or not known (NaN)
        return 1.0, dict.fromkeys(cost, 1.0)
    return judge_usd / usual, {arm: usd / usual if usd >= 0 else 1.0 for arm, usd in cost.items()}
