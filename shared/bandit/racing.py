"""Evaluation plan: which other models answer a prompt beside the one that serves it, and how likely that was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from msgspec import Struct

from shared.bandit.arms import ArmId
from shared.bandit.context import Context
from shared.bandit.decision import Decision, Weights
from shared.bandit.posterior import GaussianPosterior
from shared.bandit.thompson import place_in
from shared.bandit.weighing import weigh

DRAWS = 200
"""Of every model's utility, to find the models that may be the best."""
WORTH_ASKING = 0.01
"""Expected regret in units of quality, E[max U - U of the best-looking model], above which other models are asked."""

MOST_LIKELY, LEAST_CHANCE = 2, 0.02
"""So many other models are asked, those most likely to be the best, if they are with so much probability."""

NEW_LABELS = 15.0
"""A model with fewer scores on such prompts is asked, too."""


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
    weighed = weigh(posterior, place_in(posterior, context), tuple(eligible), weights)
    draws = weighed.utility + np.array(weighed.belief_sds) * rng.standard_normal((DRAWS, len(eligible)))
    regret = float((draws.max(axis=1) - draws[:, weighed.best]).mean()) / max(weights.quality, 1e-9)
    racing = regret > WORTH_ASKING
    probability = terms.max_share if racing else min(terms.rest_share, terms.max_share)
    if rng.random() >= probability:
        return None
    if not racing:
        return EvaluationPlan(EvaluationReason.SAMPLE, (), probability, regret)
    wins = np.bincount(draws.argmax(axis=1), minlength=len(eligible)) / DRAWS
    labels = weighed.beliefs.arm_labels[weighed.columns]
    others = [i for i in np.argsort(-wins).tolist() if eligible[i] != decision.arm]
    likely = [i for i in others if wins[i] >= LEAST_CHANCE][:MOST_LIKELY]
    new = [i for i in others if labels[i] < NEW_LABELS]
    asked = tuple(eligible[i] for i in dict.fromkeys((*likely, *new)))
    return EvaluationPlan(EvaluationReason.RACE, asked, probability, regret)
