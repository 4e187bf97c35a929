"""Streams: the order of the prompts in a run, and which ratings arrive. One seed gives one stream for all players."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.simulator.recorded_outcomes import Outcomes

Floats = NDArray[np.float64]
DROP = 0.2
REPEATED = 150


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """T requests in order.

    Attributes:
        rows: of the outcomes, (T,).
        scores, costs: (T, K), costs in USD; scores include a drift.
        dearest: mean cost of the dearest arm over the whole set, the unit of cost in `utility`.
        prompt_tokens, completion_tokens: (T, K).
        eligible: (T, K).
        rated: whether feedback comes at all, (T,); drawn once, so that every player gets it for the same requests.
        delay: requests after which a rating arrives.
        halves: first request of each part within which "best fixed" is determined.
    """

    rows: NDArray[np.intp]
    scores: Floats
    costs: Floats
    dearest: float
    prompt_tokens: Floats
    completion_tokens: Floats
    eligible: NDArray[np.bool_]
    rated: NDArray[np.bool_]
    delay: int
    halves: tuple[int, ...]

    def utility(self, cost_weight: float) -> Floats:
        """Return quality - weight x cost / mean cost of the dearest arm, (T, K)."""
        return self.scores - cost_weight * self.costs / self.dearest

    def best_fixed(self, cost_weight: float) -> Floats:
        """Return the utility of the best fixed arm in hindsight (of each half, where the world changes), (T,)."""
        utility = np.where(self.eligible, self.utility(cost_weight), -np.inf)
        parts = np.split(utility, self.halves[1:])
        return np.concatenate([part[:, part.mean(axis=0).argmax()] for part in parts])


@dataclass(frozen=True, slots=True)
class Condition:
    """Parameters of a stream. `feedback`: share of requests that get a rating."""

    kind: str = "shuffled"
    requests: int = 2500
    feedback: float = 1.0
    cost_weight: float = 0.0
    delay: int = 0


def make_stream(outcomes: Outcomes, condition: Condition, seed: int) -> Stream:
    """Return the stream of one seed."""
    rng = np.random.default_rng([seed, 20_261_123])
    rows = STREAMS[condition.kind](outcomes, condition.requests, rng)
    scores, costs = outcomes.scores[rows].copy(), outcomes.costs[rows]
    dearest = float(outcomes.costs.mean(axis=0).max())
    eligible = np.ones(scores.shape, dtype=bool)
    half = len(rows) // 2
    favourite = int((scores - condition.cost_weight * costs / dearest).mean(axis=0).argmax())
    if condition.kind == "drift":
        late = scores[half:, favourite]
        # Marks that vanish with the right frequency keep binary scores binary.
        scores[half:, favourite] = late * (rng.random(len(late)) >= min(1.0, DROP / max(late.mean(), 1e-9)))
    if condition.kind == "new-arm":
        eligible[:half, favourite] = False
    return Stream(
        rows=rows,
        scores=scores,
        costs=costs,
        dearest=dearest,
        prompt_tokens=outcomes.prompt_tokens[rows].astype(np.float64),
        completion_tokens=outcomes.completion_tokens[rows].astype(np.float64),
        eligible=eligible,
        rated=rng.random(len(rows)) < condition.feedback,
        delay=condition.delay,
        halves=(0, half) if condition.kind in {"drift", "new-arm"} else (0,),
    )


Order = Callable[[Outcomes, int, np.random.Generator], NDArray[np.intp]]


def _shuffled(outcomes: Outcomes, requests: int, rng: np.random.Generator) -> NDArray[np.intp]:
    return rng.permutation(len(outcomes))[:requests]


def _blocked(outcomes: Outcomes, requests: int, rng: np.random.Generator) -> NDArray[np.intp]:
    rows = _shuffled(outcomes, requests, rng)
    tasks, task = np.unique(np.array(outcomes.tasks), return_inverse=True)
    return rows[np.argsort(rng.permutation(len(tasks))[task[rows]], kind="stable")]


def _repeated(outcomes: Outcomes, requests: int, rng: np.random.Generator) -> NDArray[np.intp]:
    return rng.choice(rng.permutation(len(outcomes))[:REPEATED], size=requests)


STREAMS: dict[str, Order] = {
    "shuffled": _shuffled,
    "blocked": _blocked,
    "drift": _shuffled,
    "new-arm": _shuffled,
    "repeated": _repeated,
}
