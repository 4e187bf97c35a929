"""Reference players for comparison. Every player sees the same stream and the same ratings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.replays.played import Played
from benchmarks.replays.streams import Condition, Stream

Floats = NDArray[np.float64]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Inputs of a reference: the stream, its vectors, the condition and a random generator."""

    stream: Stream
    vectors: Vectors
    condition: Condition
    rng: np.random.Generator

    def reward(self, t: int, arm: int) -> float:
        """Return the scalar reward that most bandits learn: score - weight x cost relative to the dearest arm."""
        return float(
            self.stream.scores[t, arm] - self.condition.cost_weight * self.stream.costs[t, arm] / self.stream.dearest
        )


class Reference:
    """A player that learns a scalar reward from rated requests."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.arms = table.stream.scores.shape[1]

    def choose(self, t: int, eligible: NDArray[np.intp]) -> int:
        """Return an eligible arm for request t."""
        raise NotImplementedError

    def learn(self, t: int, arm: int, reward: float) -> None:
        """Learn the reward of request t, which `arm` answered."""

    def play(self) -> Played:
        """Play the stream once."""
        stream = self.table.stream
        chosen = np.zeros(len(stream.rows), dtype=np.intp)
        for t in range(len(chosen)):
            chosen[t] = self.choose(t, np.flatnonzero(stream.eligible[t]))
            due = t - stream.delay
            if due >= 0 and stream.rated[due]:
                self.learn(due, int(chosen[due]), self.table.reward(due, int(chosen[due])))
        return Played(chosen, np.full(stream.scores.shape, np.nan))


class RandomChoice(Reference):
    """Uniform random choice."""

    def choose(self, t: int, eligible: NDArray[np.intp]) -> int:  # noqa: ARG002 - part of the interface
        """Draw an arm."""
        return int(self.table.rng.choice(eligible))


class EpsilonGreedy(Reference):
    """Epsilon-greedy with epsilon 0.1 on the mean rewards."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self.counts, self.totals = np.ones(self.arms), np.full(self.arms, 0.8)

    def choose(self, t: int, eligible: NDArray[np.intp]) -> int:  # noqa: ARG002 - part of the interface
        """Explore or exploit."""
        if self.table.rng.random() < 0.1:
            return int(self.table.rng.choice(eligible))
        return int(eligible[(self.totals / self.counts)[eligible].argmax()])

    def learn(self, t: int, arm: int, reward: float) -> None:  # noqa: ARG002 - part of the interface
        """Update the counts."""
        self.counts[arm] += 1
        self.totals[arm] += reward


class LinUcb(Reference):
    """Disjoint LinUCB (Li et al. 2010) on 25 principal components (of the whole set, which favours it) and a constant.

    It learns the reward's difference to .8, the prior of the others: from 0 it would stay with the first arm it tries.
    The bound is one standard error of a reward with standard deviation .35.
    """

    def __init__(self, table: Table, alpha: float = 1.0) -> None:
        super().__init__(table)
        centred = table.vectors - table.vectors.mean(axis=0)
        axes = np.linalg.svd(centred.astype(np.float64), full_matrices=False)[2][:25]
        scores = centred @ axes.T
        self.features = np.column_stack((scores / scores.std(axis=0).clip(1e-9) / 5, np.ones(len(scores))))
        size = self.features.shape[1]
        self.alpha = alpha
        self.inverse = np.tile(np.eye(size), (self.arms, 1, 1))
        self.totals, self.weights = np.zeros((self.arms, size)), np.zeros((self.arms, size))

    def choose(self, t: int, eligible: NDArray[np.intp]) -> int:
        """Take the largest upper confidence bound."""
        x = self.features[t]
        spread = np.sqrt(np.einsum("i,kij,j->k", x, self.inverse, x))
        return int(eligible[(self.weights @ x + self.alpha * 0.35 * spread)[eligible].argmax()])

    def learn(self, t: int, arm: int, reward: float) -> None:
        """Rank-one update."""
        x = self.features[t]
        column = self.inverse[arm] @ x
        self.inverse[arm] -= np.outer(column, column) / (1 + x @ column)
        self.totals[arm] += (reward - 0.8) * x
        self.weights[arm] = self.inverse[arm] @ self.totals[arm]


class LiteralRule(Reference):
    """Naive design: hard threshold at cosine .7, top 50, Beta on one scalar, a tenth uniform."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self.rated: list[int] = []
        self.answered: list[int] = []
        self.rewards: list[float] = []
        self.wins, self.losses = np.full(self.arms, 0.8), np.full(self.arms, 0.2)

    def choose(self, t: int, eligible: NDArray[np.intp]) -> int:
        """Draw from the Beta of the similar requests, or of all requests when fewer than five are similar."""
        if self.table.rng.random() < 0.1:
            return int(self.table.rng.choice(eligible))
        wins, losses = self.wins, self.losses
        if self.rated:
            similarity = self.table.vectors[self.rated] @ self.table.vectors[t]
            near = np.argsort(-similarity)[:50]
            near = near[similarity[near] >= 0.7]
            if len(near) >= 5:
                wins, losses = np.full(self.arms, 0.8), np.full(self.arms, 0.2)
                arms, rewards = np.array(self.answered)[near], np.array(self.rewards)[near]
                np.add.at(wins, arms, rewards)
                np.add.at(losses, arms, 1 - rewards)
        return int(eligible[self.table.rng.beta(wins, losses)[eligible].argmax()])

    def learn(self, t: int, arm: int, reward: float) -> None:
        """Store the reward, clipped to [0, 1]."""
        squeezed = min(max(reward, 0.0), 1.0)
        self.rated.append(t)
        self.answered.append(arm)
        self.rewards.append(squeezed)
        self.wins[arm] += squeezed
        self.losses[arm] += 1 - squeezed


class FullInformationKnn(Reference):
    """Upper bound: sees the rewards of ALL arms on all past requests, and takes the mean of the 50 nearest."""

    def play(self) -> Played:
        """Go through the stream once, with full information."""
        stream, vectors = self.table.stream, self.table.vectors
        utility = stream.utility(self.table.condition.cost_weight)
        totals = np.vstack((np.zeros((1, self.arms)), np.cumsum(utility, axis=0)))
        chosen = np.zeros(len(utility), dtype=np.intp)
        for t in range(len(utility)):
            belief = totals[t] + 1e-9
            if t >= 50:
                near = np.argpartition(-(vectors[:t] @ vectors[t]), 49)[:50]
                # Shrunk a little towards the overall mean.
                belief = (utility[near].sum(axis=0) + 25 * totals[t] / t) / 75
            chosen[t] = np.where(stream.eligible[t], belief, -np.inf).argmax()
        return Played(chosen, np.full(utility.shape, np.nan))


class FullInformationByTopic(Reference):
    """Upper bound: calls the arm that is best for the request's topic, over all prompts of the topic."""

    def choose(self, t: int, eligible: NDArray[np.intp]) -> int:  # noqa: ARG002 - no ineligible arm is right
        """Take the right arm."""
        return int(self.table.stream.right[t].argmax())


class KnownValues(Reference):
    """Knows what the arms are worth, but not which is which: no learner can know this much, and yet it loses.

    Told the list of the arms' true utilities and the noise, it only has to find out which arm has which. It draws the
    owner of the largest from its belief, tempered. A bound on what any rule without context could do here.
    """

    def __init__(self, table: Table, scale: float = 0.5) -> None:
        super().__init__(table)
        utility = table.stream.utility(table.condition.cost_weight)
        self.values, self.noise = utility.mean(axis=0), float(utility.var(axis=0).mean())
        self.counts, self.totals = np.zeros(self.arms), np.zeros(self.arms)
        self.sharpness = scale**-2

    def choose(self, t: int, eligible: NDArray[np.intp]) -> int:  # noqa: ARG002 - part of the interface
        """Draw the arm that has the largest value."""
        mean = self.totals / np.maximum(self.counts, 1)
        fit = -self.counts[:, None] / (2 * self.noise) * (mean[:, None] - self.values) ** 2
        owner = np.exp(fit - fit.max(axis=1, keepdims=True)) + 1e-12
        for _ in range(15):  # every arm has one value, every value one arm (Sinkhorn)
            owner /= owner.sum(axis=0)
            owner /= owner.sum(axis=1, keepdims=True)
        chances = (owner[:, self.values.argmax()] ** self.sharpness)[eligible]
        return int(self.table.rng.choice(eligible, p=chances / chances.sum()))

    def learn(self, t: int, arm: int, reward: float) -> None:  # noqa: ARG002 - part of the interface
        """Update the counts."""
        self.counts[arm] += 1
        self.totals[arm] += reward


REFERENCES: dict[str, Callable[[Table], Reference]] = {
    "random": RandomChoice,
    "epsilon-greedy": EpsilonGreedy,
    "linucb": LinUcb,
    "literal": LiteralRule,
    "known-values": KnownValues,
    "knn-full-information": FullInformationKnn,
    "topic-full-information": FullInformationByTopic,
}
