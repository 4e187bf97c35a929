"""Expected value of a decision, against the best single model and against no exploration.

    lift   = U(chosen | prompt) - U(fixed | prompt),        regret = max_a U(a | prompt) - U(chosen | prompt) >= 0

U is the utility that the policy expects, by its own posterior means. `fixed` is the arm of the highest expected utility
over all traffic: what somebody would set who had to name one model today.

Both are estimates by the same beliefs that decide, so they are as right as these are, and rather too good: a maximum
over noisy means is biased upwards (Smith and Winkler, The Optimizer's Curse, 2006). They say how the router sees
itself. Evidence needs outcomes: `off_policy.py` takes them from a log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.bandit.arms import ArmId
from shared.bandit.decision import Decision, Weights
from shared.bandit.policy import ArmSummary
from shared.bandit.reward import share_of_largest


@dataclass(frozen=True, slots=True)
class Worth:
    """A decision's estimated lift over the best fixed arm, and its estimated regret; both in units of utility."""

    lift: float
    regret: float


def expected_utilities(beliefs: Sequence[ArmSummary], weights: Weights) -> dict[ArmId, float]:
    """Return the expected utility of every arm over all traffic, best first; ties by name."""
    quality = np.array([belief.quality * belief.reliability for belief in beliefs])
    latency, cost = (_known([getattr(belief, name) for belief in beliefs]) for name in ("latency_s", "cost_usd"))
    speed = np.zeros(len(beliefs)) if np.isnan(latency).all() else 1.0 - share_of_largest(latency)
    utility = weights.quality * quality + weights.latency * speed + weights.cost * share_of_largest(cost)
    pairs = zip((belief.arm for belief in beliefs), utility.tolist(), strict=True)
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def worth_of(decision: Decision, best_first: Sequence[ArmId]) -> Worth | None:
    """Return what `decision` is worth; None where nothing was weighed. `best_first` ranks the arms over all traffic."""
    utilities = {view.arm: view.utility for view in decision.views}
    fixed = next((arm for arm in best_first if arm in utilities), None)
    if fixed is None or decision.arm not in utilities:
        return None
    chosen = utilities[decision.arm]
    return Worth(lift=chosen - utilities[fixed], regret=max(utilities.values()) - chosen)


def _known(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values])
