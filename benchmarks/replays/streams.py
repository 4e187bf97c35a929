"""Streams: the order of the prompts in a run, and which ratings arrive. One seed gives one stream for all players."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.replays.topics import OTHER, Topics, right_arms, topics_of
from deploy.simulator.recorded_outcomes import Outcomes

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
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
        topic_names: names of the topics.
        topic: topic of each request, (T,).
        right: whether an arm is the best for the request's topic, over all prompts of the topic, (T, K).
        mixed_from: first request after the topics' own blocks; 0 where topics have no blocks.
        fallen: the topic whose best arm falls half-way; None where there is none.
        imported: of the outcomes: prompts whose scores for all arms are known beforehand.
    """

    rows: Rows
    scores: Floats
    costs: Floats
    dearest: float
    prompt_tokens: Floats
    completion_tokens: Floats
    eligible: NDArray[np.bool_]
    rated: NDArray[np.bool_]
    delay: int
    halves: tuple[int, ...]
    topic_names: tuple[str, ...]
    topic: Rows
    right: NDArray[np.bool_]
    mixed_from: int
    fallen: int | None
    imported: Rows

    def utility(self, cost_weight: float) -> Floats:
        """Return quality - weight x cost / mean cost of the dearest arm, (T, K)."""
        return self.scores - cost_weight * self.costs / self.dearest

    def best_fixed(self, cost_weight: float) -> Floats:
        """Return the utility of the best fixed arm in hindsight (of each half, where the world changes), (T,)."""
        utility = np.where(self.eligible, self.utility(cost_weight), -np.inf)
        parts = np.split(utility, self.halves[1:])
        return np.concatenate([part[:, part.mean(axis=0).argmax()] for part in parts])

    def best_by_topic(self, cost_weight: float) -> Floats:
        """Return the utility of the arm that is right for each request's topic, (T,)."""
        best: Floats = self.utility(cost_weight)[np.arange(len(self.rows)), self.right.argmax(axis=1)]
        return best


@dataclass(frozen=True, slots=True)
class Condition:
    """Parameters of a stream.

    Attributes:
        kind: one of `STREAMS`.
        requests: length of the stream; `topics` has its own.
        feedback: share of requests that get a rating.
        cost_weight: weight of cost in the utility.
        delay: requests after which a rating arrives.
        block, mixed, topics: of the stream `topics`: requests of each topic in turn, requests of all topics afterwards,
            and how many topics at most.
        fall: of the stream `topic-drift`: what the best arm of one topic loses half-way.
        judge: one of `judging.JUDGES`, or "none".
        race: whether other models answer beside the one that serves, where the product's plan says so.
        imported: number of prompts whose scores for all arms are known beforehand.
        imported_from: "same": prompts of all tasks, beside the stream's where there are enough; "other": of half of the
            tasks, while the stream has the other half.
        prior: public indices of quality: "none"; "noisy", each arm's mean score with noise of sd .05; "inverted", the
            same with the best for the worst.
    """

    kind: str = "shuffled"
    requests: int = 2500
    feedback: float = 1.0
    cost_weight: float = 0.0
    delay: int = 0
    block: int = 150
    mixed: int = 1000
    topics: int = 14
    fall: float = 0.6
    judge: str = "none"
    race: bool = False
    imported: int = 0
    imported_from: str = "same"
    prior: str = "none"


def make_stream(outcomes: Outcomes, condition: Condition, seed: int) -> Stream:
    """Return the stream of one seed. Raises ValueError where the data set does not allow it."""
    rng = np.random.default_rng([seed, 20_261_123])
    topics = topics_of(outcomes)
    rows, mixed_from = STREAMS[condition.kind](topics, condition, rng)
    rows, imported = _with_import(rows, topics, condition, np.random.default_rng([seed, 13]))
    scores, costs, topic = outcomes.scores[rows].copy(), outcomes.costs[rows], topics.of_row[rows]
    dearest = float(outcomes.costs.mean(axis=0).max())
    eligible = np.ones(scores.shape, dtype=bool)
    half, fallen = len(rows) // 2, None
    early = topics.utility(condition.cost_weight)
    late = early.copy()
    favourite = int((scores - condition.cost_weight * costs / dearest).mean(axis=0).argmax())
    if condition.kind == "drift":
        fell = scores[half:, favourite]
        scores[half:, favourite] = _fall(fell, float(fell.mean()), DROP, rng)
        late[:, favourite] -= DROP
    if condition.kind == "new-arm":
        eligible[:half, favourite] = False
        early[:, favourite] = -np.inf
    if condition.kind == "topic-drift":
        fallen = int(rng.choice(np.unique(topic)))
        arm = int(early[fallen].argmax())
        mean = float(topics.scores[fallen, arm])
        hit = half + np.flatnonzero(topic[half:] == fallen)
        scores[hit, arm] = _fall(scores[hit, arm], mean, condition.fall, rng)
        late[fallen, arm] -= min(condition.fall, mean)
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
        halves=(0, half) if condition.kind in CHANGING else (0,),
        topic_names=topics.names,
        topic=topic,
        right=np.concatenate((right_arms(early)[topic[:half]], right_arms(late)[topic[half:]])),
        mixed_from=mixed_from,
        fallen=fallen,
        imported=imported,
    )


def _with_import(rows: Rows, topics: Topics, condition: Condition, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Return the rows of the stream, and those that are imported."""
    everything = np.arange(len(topics.task))
    if condition.imported_from == "other":
        tasks = rng.permutation(int(topics.task.max()) + 1)
        foreign = np.isin(topics.task, tasks[: len(tasks) // 2])
        # Of one length for all seeds; prompts come again where the other half of the tasks has too few.
        rows, left = np.resize(rows[~foreign[rows]], min(len(rows), len(everything) // 2)), everything[foreign]
    else:
        left = np.setdiff1d(everything, rows)
        left = left if len(left) >= condition.imported else everything
    return rows, rng.permutation(left)[: condition.imported]


def _fall(scores: Floats, mean: float, fall: float, rng: np.random.Generator) -> Floats:
    """Return scores of that mean lowered by `fall`: marks that vanish keep binary scores binary."""
    return scores * (rng.random(len(scores)) >= min(1.0, fall / max(mean, 1e-9)))


Order = Callable[[Topics, Condition, np.random.Generator], tuple[Rows, int]]
"""Returns the rows in order, and the first request after the topics' own blocks (0: no blocks)."""


def _shuffled(topics: Topics, condition: Condition, rng: np.random.Generator) -> tuple[Rows, int]:
    return rng.permutation(len(topics.of_row))[: condition.requests], 0


def _blocked(topics: Topics, condition: Condition, rng: np.random.Generator) -> tuple[Rows, int]:
    rows, _ = _shuffled(topics, condition, rng)
    place = rng.permutation(int(topics.task.max()) + 1)
    return rows[np.argsort(place[topics.task[rows]], kind="stable")], 0


def _repeated(topics: Topics, condition: Condition, rng: np.random.Generator) -> tuple[Rows, int]:
    return rng.choice(rng.permutation(len(topics.of_row))[:REPEATED], size=condition.requests), 0


def _topics(topics: Topics, condition: Condition, rng: np.random.Generator) -> tuple[Rows, int]:
    orders = _orders(topics, condition, rng)
    blocks = [order[: condition.block] for order in orders]
    mixed = _mixed([np.roll(order, -condition.block) for order in orders], condition.mixed, rng)
    return np.concatenate([*blocks, mixed]), condition.block * len(orders)


def _topic_drift(topics: Topics, condition: Condition, rng: np.random.Generator) -> tuple[Rows, int]:
    return _mixed(_orders(topics, condition, rng), condition.requests, rng), 0


def _orders(topics: Topics, condition: Condition, rng: np.random.Generator) -> list[Rows]:
    """Return the topics that are large enough, at most the given number, each with its prompts in random order."""
    sizes = np.bincount(topics.of_row)
    named = [number for number, name in enumerate(topics.names) if name != OTHER and sizes[number] >= condition.block]
    if len(named) < 2:
        raise ValueError(f"stream {condition.kind}: needs two tasks with at least {condition.block} prompts each")
    largest = sorted(named, key=lambda number: -sizes[number])[: condition.topics]
    return [rng.permutation(topics.rows(number)) for number in rng.permutation(largest).tolist()]


def _mixed(orders: list[Rows], requests: int, rng: np.random.Generator) -> Rows:
    """Return requests of all topics, equally many of each, in random order; a topic's prompts repeat when used up."""
    topic = rng.permutation(np.arange(requests) % len(orders))
    rows = np.zeros(requests, dtype=np.intp)
    for number, order in enumerate(orders):
        places = np.flatnonzero(topic == number)
        rows[places] = order[np.arange(len(places)) % len(order)]
    return rows


STREAMS: dict[str, Order] = {
    "shuffled": _shuffled,
    "blocked": _blocked,
    "drift": _shuffled,
    "new-arm": _shuffled,
    "repeated": _repeated,
    "topics": _topics,
    "topic-drift": _topic_drift,
}
CHANGING = frozenset({"drift", "new-arm", "topic-drift"})
"""Streams whose best arm changes half-way."""

BY_TOPIC = frozenset({"topics", "topic-drift"})
"""Streams that are about topics."""
