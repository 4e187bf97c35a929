"""Weighing of arms: utility of each for a prompt, and the probability that it is the best."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from shared.bandit.arms import ArmId
from shared.bandit.change import rating_sd
from shared.bandit.decision import Weights
from shared.bandit.kinds import Place
from shared.bandit.posterior import Beliefs, GaussianPosterior, known
from shared.bandit.propensity import chance_of_best, win_chances
from shared.bandit.reward import share_of_largest


class Facts(NamedTuple):
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
class Weighed:
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
    facts: list[Facts]
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


@lru_cache(maxsize=256)
def weigh(posterior: GaussianPosterior, place: Place | None, eligible: tuple[ArmId, ...], weights: Weights) -> Weighed:
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
    # A prompt without a place, where there are kinds, may be of any kind: what it surprises with is no evidence.
    testing = beliefs.arm_labels[columns] * (posterior.kinds is None if place is None else place.central)
    facts = zip(
        eligible,
        *(column.tolist() for column in (quality_sd, draw_sd, base)),
        *([known(each) for each in column.tolist()] for column in (cost, latency)),
        *(column.tolist() for column in (cost_terms, speed_terms)),
        [posterior.sums[column].labels for column in columns],
        map(rating_sd, posterior.noise[columns].tolist(), variance.tolist(), testing.tolist()),
        strict=True,
    )
    utility = (weights.quality * quality + weights.latency * speed_terms + weights.cost * cost_terms).tolist()
    utility_sds = (weights.quality * draw_sd).tolist()
    return Weighed(
        beliefs=beliefs,
        facts=[Facts(*each) for each in facts],
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


def shifted(weighed: Weighed, shifts: list[float], weights: Weights) -> Weighed:
    """Weigh again with the shifts of quality by neighbours."""
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
