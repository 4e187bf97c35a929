"""Utility of the choices: the configured weights applied to recorded quality and cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.simulator.recorded_outcomes import Outcomes
from shared.bandit.decision import Weights

DEFINITION = "utility = {quality:g} x quality + {latency:g} x (1 - latency / slowest) {sign} {cost:g} x cost / dearest"


@dataclass(frozen=True, slots=True, eq=False)
class Utilities:
    """Utility of each of K models for each of n prompts, shape (n, K), known in hindsight.

    Latency and cost are divided by the largest mean of a model (`slowest`, `dearest`), so that terms have no unit.
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


def utilities(outcomes: Outcomes, latency_s: NDArray[np.float64], weights: Weights) -> Utilities:
    """Return the utilities. `latency_s`: typical latency of each model, because the data has none per prompt."""
    dearest = float(outcomes.costs.mean(axis=0).max())
    relative_cost = outcomes.costs / dearest if dearest > 0 else np.zeros_like(outcomes.costs)
    speed = 1.0 - latency_s / latency_s.max()
    return Utilities(
        weights.quality * outcomes.scores + weights.latency * speed + weights.cost * relative_cost, weights
    )


@dataclass(frozen=True, slots=True)
class Line:
    """Row of the comparison: means over the same prompts. A star marks the best single model in hindsight."""

    name: str
    quality: float
    cost_usd: float
    utility: float


def compare(outcomes: Outcomes, value: Utilities, chosen: NDArray[np.int64]) -> list[Line]:
    """Compare the router with a random choice and with each single model, on the prompts answered so far.

    `chosen[i]`: column of the model that answered prompt i, -1 before the answer.
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
    """Return each model's share of the answered prompts, shape (models,)."""
    answered = chosen[chosen >= 0]
    counts = np.bincount(answered, minlength=models)[:models]
    return counts / max(1, len(answered))
