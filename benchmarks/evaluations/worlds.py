"""Logs with known truth: the product's policy on recorded outcomes of all arms.

Requests are drawn from the recorded prompts with replacement, and are rated. What a policy is worth is its expected
utility on a request drawn in the same way, which the full outcomes tell exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.evaluations.log import Log, Logged, make_log
from deploy.simulator.recorded_outcomes import Outcomes
from shared.bandit.arms import Arm
from shared.bandit.build import build_policy
from shared.bandit.context import EMPTY
from shared.bandit.decision import Decision, Weights
from shared.bandit.learning import feedback_sums, outcome_sums
from shared.bandit.policy import BanditSettings
from shared.bandit.stored_sums import weighted_sums
from shared.bandit.sums import LearnedState

Floats = NDArray[np.float64]

SETTINGS = BanditSettings(weights=Weights(quality=1.0, latency=0.0, cost=-0.1))
EXPLORING = replace(SETTINGS, exploration_rate=1.0)
WARM_UP = 15
LATENCY_S = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """A log with the expected score and cost of every arm for each request, (n, K).

    The expectation is over the prompts that the policy cannot distinguish from this one. So the mean of a policy's
    probabilities times these is its value on requests drawn like these. Columns are in the order of `log.arms`.
    """

    log: Log
    settings: BanditSettings
    scores: Floats
    costs: Floats


World = Callable[[Outcomes, int, int], Known]


def learning(outcomes: Outcomes, requests: int, seed: int, settings: BanditSettings = SETTINGS) -> Known:
    """Return the log of a policy that starts cold and learns from every rating."""
    rng = np.random.default_rng([seed, 5])
    player = _Player(outcomes, settings, rng)
    logged, next_fit = [], 0
    for t, row in enumerate(rng.integers(len(outcomes), size=requests).tolist()):
        if t >= next_fit:
            player.refit()
            next_fit = max(t + 1, int(t * 1.04))
        decision = player.decide()
        logged.append(_outcome(outcomes, row, decision))
        player.learn(row, outcomes.models.index(decision.arm))
    everywhere = np.ones((requests, 1))
    return _known(
        outcomes, settings, logged, everywhere * outcomes.scores.mean(axis=0), everywhere * outcomes.costs.mean(axis=0)
    )


def frozen(outcomes: Outcomes, requests: int, seed: int) -> Known:
    """Return the log of a policy that has stopped learning, with one posterior per task from a few ratings."""
    rng = np.random.default_rng([seed, 6])
    tasks, task = _tasks(outcomes, at_least=10 * len(outcomes) / requests)
    players = []
    for number in range(len(tasks)):
        player = _Player(outcomes, EXPLORING, rng)
        for row in rng.choice(np.flatnonzero(task == number), size=WARM_UP).tolist():
            player.learn(row, int(rng.integers(len(outcomes.models))))
        player.refit()
        players.append(player)
    rows = rng.integers(len(outcomes), size=requests)
    logged = [_outcome(outcomes, row, players[task[row]].decide()) for row in rows.tolist()]
    frequencies = np.bincount(task, minlength=len(tasks)) / len(task)
    # Which tasks were drawn is random, too: weight them as in the whole data set.
    drawn = np.bincount(task[rows], minlength=len(tasks)) / requests
    lift = np.divide(frequencies, drawn, out=np.zeros_like(drawn), where=drawn > 0)[task[rows], None]
    scores, costs = (
        np.array([values[task == number].mean(axis=0) for number in range(len(tasks))])[task[rows]] * lift
        for values in (outcomes.scores, outcomes.costs)
    )
    return _known(outcomes, EXPLORING, logged, scores, costs)


WORLDS: dict[str, World] = {
    "frozen": frozen,
    "learning": learning,
    "exploring": partial(learning, settings=EXPLORING),
}


def _tasks(outcomes: Outcomes, at_least: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the tasks, and each prompt's task; rare ones are merged, so that every log has all tasks."""
    _, task, counts = np.unique(np.array(outcomes.tasks), return_inverse=True, return_counts=True)
    return np.unique(np.where(counts[task] >= at_least, task, -1), return_inverse=True)


class _Player:
    """The product's policy without vectors."""

    def __init__(self, outcomes: Outcomes, settings: BanditSettings, rng: np.random.Generator) -> None:
        self._outcomes, self._rng = outcomes, rng
        self._policy = build_policy(settings)
        self._arms = [Arm(model, price) for model, price in zip(outcomes.models, outcomes.prices, strict=True)]
        self._sums = [Counter[str]() for _ in self._arms]
        self.refit()

    def refit(self) -> None:
        """Fit the posterior to the ratings so far."""
        sums = {arm.id: weighted_sums([(1.0, one)]) for arm, one in zip(self._arms, self._sums, strict=True)}
        self._posterior = self._policy.fit(LearnedState("", sums, None), self._arms)

    def decide(self) -> Decision:
        """Decide."""
        return self._policy.decide(self._posterior, EMPTY, self._outcomes.models, self._rng)

    def learn(self, row: int, arm: int) -> None:
        """Learn the outcome and the rating of an arm."""
        known = self._outcomes
        self._sums[arm].update(
            outcome_sums(
                cost_usd=float(known.costs[row, arm]),
                latency_s=LATENCY_S,
                prompt_tokens=int(known.prompt_tokens[row, arm]),
                completion_tokens=int(known.completion_tokens[row, arm]),
                kind=None,
            )
        )
        self._sums[arm].update(feedback_sums(score=float(known.scores[row, arm]), view=None, kind=None))


def _outcome(outcomes: Outcomes, row: int, decision: Decision) -> Logged:
    arm = outcomes.models.index(decision.arm)
    return Logged.of(decision, float(outcomes.scores[row, arm]), float(outcomes.costs[row, arm]), LATENCY_S)


def _known(outcomes: Outcomes, settings: BanditSettings, logged: list[Logged], scores: Floats, costs: Floats) -> Known:
    log = make_log(logged)
    order = [outcomes.models.index(arm) for arm in log.arms]
    return Known(log, settings, scores[:, order], costs[:, order])
