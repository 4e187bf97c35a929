"""Choices by kind of prompt: what the router has learned to call for it, and what would have been best."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.simulator.recorded_outcomes import Outcomes


@dataclass(frozen=True, slots=True)
class KindLine:
    """Row of the table. `share`: of the router's favourite model in the later half of the prompts of this kind."""

    name: str
    prompts: int
    favourite: int
    share: float
    best: int


def kind_lines(
    outcomes: Outcomes, utility: NDArray[np.float64], chosen: NDArray[np.int64], order: list[int], limit: int
) -> list[KindLine]:
    """Return the `limit` kinds with the most answered prompts. The best model is that of all prompts of the kind.

    A kind is the task of the data set, without what follows a slash.
    """
    kinds = np.array([task.partition("/")[0] for task in outcomes.tasks])
    answered = np.array(order, dtype=np.int64)
    lines = []
    for kind, number in Counter(kinds[answered].tolist()).most_common(limit):
        late = chosen[answered[kinds[answered] == kind][number // 2 :]]
        counts = np.bincount(late, minlength=len(outcomes.models))
        best = int(utility[kinds == kind].mean(axis=0).argmax())
        lines.append(KindLine(kind, number, int(counts.argmax()), float(counts.max() / len(late)), best))
    return lines
