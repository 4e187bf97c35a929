"""What a choice was worth: the configured weights applied to the recorded quality and cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.simulator.recorded_outcomes import Outcomes
from shared.bandit.decision import Weights

DEFINITION = "utility = {quality:g} x quality + {latency:g} x (1 - latency / slowest) {sign} {cost:g} x cost / dearest"


@dataclass(frozen=True, slots=True, eq=False)
class Worth:
    """Utility of every model for every prompt, (n, K), known in hindsight.

    `slowest` and `dearest` are the largest mean latency and mean cost of a model, so that the terms have no unit.
    """

    utility: NDArray[np.float64]
    weights: Weights

    def definition(self) -> str:
        """Return the formula with its numbers."""
        weights = self.weights
        return DEFINITION.format(
            quality=weights.quality,
            latency=weights.latency,
            sign="-" if weights.cost <= 0 else "+",
            cost=abs(weights.cost),
        )


def worth(outcomes: Outcomes, latency_s: NDArray[np.float64], weights: Weights) -> Worth:
    """Weigh every outcome; `latency_s` is each model's typical latency, as the data names none per prompt."""
    dearest = float(outcomes.costs.mean(axis=0).max())
    relative_cost = outcomes.costs / dearest if dearest > 0 else np.zeros_like(outcomes.costs)
    speed = 1.0 - latency_s / latency_s.max()
    return Worth(weights.quality * outcomes.scores + weights.latency * speed + weights.cost * relative_cost, weights)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the comparison: means over the same prompts. A star marks the best fixed model in hindsight."""

    name: str
    quality: float
    cost_usd: float
    utility: float


def compare(outcomes: Outcomes, value: Worth, chosen: NDArray[np.int64]) -> list[Line]:
    """Compare the router with everything simpler, on the prompts that have been answered so far.

    `chosen` holds the column that answered prompt i, -1 where none has.
    """
    rows = np.flatnonzero(chosen >= 0)
    if not len(rows):
        return []
    scores, costs, utility = outcomes.scores[rows], outcomes.costs[rows], value.utility[rows]
    picked = np.arange(len(rows)), chosen[rows]
    best = int(utility.mean(axis=0).argmax())
    lines = [
        Line("router", float(scores[picked].mean()), float(costs[picked].mean()), float(utility[picked].mean())),
        Line("random", float(scores.mean()), float(costs.mean()), float(utility.mean())),
    ]
    for column in np.argsort(-utility.mean(axis=0), kind="stable"):
        mark = " *" if column == best else ""
        lines.append(
            Line(
                f"{outcomes.models[column]}{mark}",
                float(scores[:, column].mean()),
                float(costs[:, column].mean()),
                float(utility[:, column].mean()),
            )
        )
    return lines


def shares(chosen: NDArray[np.int64], models: int) -> NDArray[np.float64]:
    """Return each model's share of the answered prompts."""
    answered = chosen[chosen >= 0]
    counts = np.bincount(answered, minlength=models)[:models]
    return counts / max(1, len(answered))
