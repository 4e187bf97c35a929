"""Utility of the choices: the configured weights applied to recorded quality and cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.simulator.recorded_outcomes import Outcomes
from shared.bandit.decision import Weights

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Utilities:
    """Utility of each of K models for each of n prompts, shape (n, K), known in hindsight.

    Costs are divided by `dearest`, the largest mean cost of a model, so that both terms have no unit. Latency is not
    recorded, and has no part in it.
    """

    utility: Floats
    dearest: float
    weights: Weights

    def definition(self) -> str:
        """Return the formula with its numbers."""
        return (
            f"utility = {self.weights.quality:g} x quality - {-self.weights.cost:g} x cost / cost of the dearest model"
        )

    def of_cost(self, usd: float) -> float:
        """Return what a cost adds to the utility: a number below 0."""
        return self.weights.cost * usd / self.dearest if self.dearest > 0 else 0.0


def utilities(outcomes: Outcomes, weights: Weights) -> Utilities:
    """Return the utilities of recorded outcomes."""
    dearest = float(outcomes.costs.mean(axis=0).max())
    relative_cost = outcomes.costs / dearest if dearest > 0 else np.zeros_like(outcomes.costs)
    return Utilities(weights.quality * outcomes.scores + weights.cost * relative_cost, dearest, weights)


@dataclass(frozen=True, slots=True)
class Line:
    """Row of the comparison: means over the same prompts. `column` is that of a single model, else None."""

    name: str
    quality: float
    cost_usd: float
    utility: float
    column: int | None = None


def compare(outcomes: Outcomes, value: Utilities, chosen: NDArray[np.int64], evaluation_usd: float = 0.0) -> list[Line]:
    """Compare the router with each single model, the best first, and with a random choice, on the answered prompts.

    `chosen[i]`: column of the model that answered prompt i, -1 before the answer. `evaluation_usd`: cost of all
    evaluations; the router's cost and utility include it.
    """
    rows = np.flatnonzero(chosen >= 0)
    if not len(rows):
        return []
    scores, costs, utility = outcomes.scores[rows], outcomes.costs[rows], value.utility[rows]
    picked, beside = (np.arange(len(rows)), chosen[rows]), evaluation_usd / len(rows)
    router = Line(
        "the router",
        float(scores[picked].mean()),
        float(costs[picked].mean()) + beside,
        float(utility[picked].mean()) + value.of_cost(beside),
    )
    means = scores.mean(axis=0), costs.mean(axis=0), utility.mean(axis=0)
    quality, cost, worth = (of.tolist() for of in means)
    fixed = [
        Line(outcomes.models[column].rpartition("/")[2], quality[column], cost[column], worth[column], column)
        for column in np.argsort(-means[2], kind="stable").tolist()
    ]
    random = Line("at random", float(scores.mean()), float(costs.mean()), float(utility.mean()))
    return [router, *fixed, random]


def shares(chosen: NDArray[np.int64], models: int) -> Floats:
    """Return each model's share of the answered prompts, shape (models,)."""
    answered = chosen[chosen >= 0]
    counts = np.bincount(answered, minlength=models)[:models]
    return counts / max(1, len(answered))
