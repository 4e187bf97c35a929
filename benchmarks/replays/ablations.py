"""Ablations: the product's policy without one of its parts, told the topics, or with less exploration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.replays.topics import topics_of
from benchmarks.replays.worlds import World
from shared.bandit.arms import Arm, ArmId
from shared.bandit.context import Context
from shared.bandit.decision import Decision
from shared.bandit.policy import Policy
from shared.bandit.sums import ArmSums, LearnedState, Sums

Change = Callable[[ArmSums], ArmSums]


@dataclass(frozen=True, slots=True)
class Ablated:
    """`policy` without one input: it is removed from the learned state and from the contexts."""

    policy: Policy[Any]
    name: str

    def fit(self, state: LearnedState, arms: Sequence[Arm]) -> Any:
        """Fit without that input."""
        if self.name == "without-kinds":
            state = replace(state, kinds=None)
        if self.name == "without-price":
            arms = [replace(arm, price=None) for arm in arms]
        hide = _HIDE.get(self.name)
        if hide is not None:
            state = replace(state, arms={arm: hide(sums) for arm, sums in state.arms.items()})
        return self.policy.fit(state, arms)

    def decide(self, posterior: Any, context: Context, eligible: Sequence[ArmId], rng: np.random.Generator) -> Decision:
        """Decide without that input."""
        if self.name in ("without-neighbours", TOLD_TOPICS):
            context = replace(context, neighbours=())
        return self.policy.decide(posterior, context, eligible, rng)


def _without_costs(sums: Sums) -> Sums:
    return replace(sums, cost_usd=0.0, unpriced=sums.requests)


_HIDE: dict[str, Change] = {
    "without-change": lambda sums: replace(sums, blocks=(), kind_blocks={}),
    "without-price": lambda sums: replace(
        sums,
        total=_without_costs(sums.total),
        kinds={key: _without_costs(part) for key, part in sums.kinds.items()},
    ),
}

TOLD_TOPICS = "told-topics"
"""Each topic is one kind of prompt from the first request on, which no router can know; without neighbours."""

EXPLORES_LESS, LOWER_RATE = "explores-less", 0.03
"""EXPLORATION_RATE is lower than its default."""

ABLATIONS = ("without-kinds", "without-neighbours", "without-change", "without-price", TOLD_TOPICS, EXPLORES_LESS)
"""`without-price` is for cost weight 0 only: without prices there are no costs."""


def told_topics(world: World) -> World:
    """Return the world with a unit vector for each topic in place of what requests say: (n, topics)."""
    topics = topics_of(world.outcomes)
    return replace(world, vectors=np.eye(len(topics.names), dtype=np.float32)[topics.of_row], traits=None)
