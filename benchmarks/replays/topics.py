"""Topics of a data set: its tasks, and the arm that is right for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.simulator.recorded_outcomes import Outcomes

Floats = NDArray[np.float64]

LEAST_PROMPTS = 50
"""Tasks with fewer prompts are one topic together: their best arm would be luck."""

OTHER = "(other)"

TIE = 0.001
"""An arm is right for a topic where its mean utility is at most this far below the best."""


@dataclass(frozen=True, slots=True, eq=False)
class Topics:
    """Topics of a data set of n prompts and K arms.

    Attributes:
        names: of the topics.
        of_row: topic of each prompt, (n,).
        task: number of each prompt's task, (n,); `of_row` without small tasks taken together.
        scores, costs: means over the prompts of a topic, (topics, K); costs relative to the dearest arm's mean.
    """

    names: tuple[str, ...]
    of_row: NDArray[np.intp]
    task: NDArray[np.intp]
    scores: Floats
    costs: Floats

    def utility(self, cost_weight: float) -> Floats:
        """Return the mean utility of each arm, (topics, K)."""
        return self.scores - cost_weight * self.costs

    def rows(self, topic: int) -> NDArray[np.intp]:
        """Return the prompts of one topic."""
        return np.flatnonzero(self.of_row == topic)


def topics_of(outcomes: Outcomes) -> Topics:
    """Return the topics of a data set."""
    tasks, task, counts = np.unique(np.array(outcomes.tasks), return_inverse=True, return_counts=True)
    labels = np.where(counts >= LEAST_PROMPTS, tasks, OTHER)[task]
    names, of_row = np.unique(labels, return_inverse=True)
    dearest = max(float(outcomes.costs.mean(axis=0).max()), 1e-300)
    scores, costs = (
        np.stack([values[of_row == number].mean(axis=0) for number in range(len(names))])
        for values in (outcomes.scores, outcomes.costs / dearest)
    )
    return Topics(tuple(str(name) for name in names), of_row.astype(np.intp), task.astype(np.intp), scores, costs)


def right_arms(utility: Floats) -> NDArray[np.bool_]:
    """Return which arms are best, along the last axis; several where they are equal."""
    best: NDArray[np.bool_] = utility >= utility.max(axis=-1, keepdims=True) - TIE
    return best
