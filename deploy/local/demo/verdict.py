"""Verdict of the demo: what routing has brought and cost, against the best single model, in plain sentences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.local.demo.evaluation_cost import EvaluationCost
from deploy.local.demo.utility import Line, Utilities, compare
from deploy.simulator.recorded_outcomes import Outcomes

Z95 = 1.96


@dataclass(frozen=True, slots=True)
class Gain:
    """Mean difference of utility to always calling one model, per request, with half of its 95 % interval."""

    mean: float
    half: float

    def __str__(self) -> str:
        """Return the difference as text."""
        return f"{self.mean:+.4f} ± {self.half:.4f}"


def gain_of(difference: NDArray[np.float64], beside: float = 0.0) -> Gain:
    """Return the mean of differences per request, `beside` added to each, as if requests were independent."""
    spread = float(difference.std(ddof=1)) if len(difference) > 1 else float("inf")
    return Gain(float(difference.mean()) + beside, Z95 * spread / max(1, len(difference)) ** 0.5)


def verdict(
    outcomes: Outcomes, value: Utilities, chosen: NDArray[np.int64], order: list[int], spent: EvaluationCost
) -> list[str]:
    """Return the sentences. `order`: the answered prompts in order of their answers."""
    if not order:
        return ["Verdict: none, because no request was answered."]
    lines = compare(outcomes, value, chosen, spent.spent_usd)
    router, best, random = lines[0], lines[1], lines[-1]
    dearest = max(lines[1:-1], key=lambda line: line.cost_usd)
    rows = np.array(order)
    served = value.utility[rows, chosen[rows]] - value.utility[rows, best.column]
    net = gain_of(served, value.of_cost(spent.spent_usd / len(rows)))
    bill = float(outcomes.costs[rows, chosen[rows]].sum())
    others = float((chosen[rows] != best.column).mean())
    half = len(rows) // 2
    early, late = served[: half or None], served[half:]
    exploring = (
        f"Exploring: {others:.0%} of the requests went to another model than {best.name}. That changed the utility of "
        f"a request by {early.mean():+.4f} in the first half and {late.mean():+.4f} in the second."
    )
    summed = (
        f"Net of both, against always {best.name}, which is the best single model, and known only in hindsight: "
        f"utility {net} a request. Against random choice: {router.utility - random.utility:+.4f}."
    )
    return [
        f"After {len(rows)} requests, evaluations included: quality {_against(router, dearest)}",
        exploring,
        spent.line(bill),
        summed,
        "Verdict: " + _judged(net, gain_of(late), router, lines[1:-1]),
    ]


def _against(router: Line, dearest: Line) -> str:
    share = f" at {router.cost_usd / dearest.cost_usd:.1%} of the cost of" if dearest.cost_usd else "; compare"
    return f"{router.quality:.3f}{share} always {dearest.name}, whose quality is {dearest.quality:.3f}."


def _judged(net: Gain, late: Gain, router: Line, fixed: list[Line]) -> str:
    """Return the verdict; `late` is the gain of serving in the second half."""
    best = fixed[0].name
    beaten = sum(router.utility > line.utility for line in fixed)
    rank = f"The router is better than {beaten} of the {len(fixed)} single models."
    if net.mean - net.half > 0:
        return f"a gain on this data, over every single model. {rank}"
    if net.mean + net.half >= 0:
        return f"no gain over always {best} that could be told from chance, and no loss. {rank}"
    if late.mean - late.half > 0:
        return f"not paid back yet; in the second half serving was better than always {best}. {rank}"
    if late.mean + late.half >= 0:
        return f"no gain on this data. Finding {best} has cost more than it has brought so far. {rank}"
    return f"no gain on this data: always {best} would have been better. {rank}"
