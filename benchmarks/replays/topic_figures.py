"""Figures by topic of one run: how often the arm that is right for the topic was chosen, when, and what it earned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.replays.streams import Stream

Bools = NDArray[np.bool_]

TARGET = 0.8
WINDOW = 20
"""A topic is learned at the first request after which `TARGET` of its last `WINDOW` choices were right."""

END = 50
"""Last requests of a topic's own block, whose share of right choices is compared with the mixed phase."""


@dataclass(frozen=True, slots=True)
class TopicFigures:
    """Shares of right choices of one run; None where the stream has no such phase.

    Attributes:
        arrival: over the topics' own blocks.
        mixed, worst: over the mixed phase (the whole stream, where there are no blocks), and of its worst topic.
        forgetting, worst_forgetting: share at the end of a topic's own block minus its share in the mixed phase: mean
            of the topics, and the largest.
        learned, slowest: requests of a topic until `TARGET` of the choices were right: mean of the topics, and the
            largest. A topic that never was counts with all its requests.
        unlearned: topics that never were.
        fall: of the topic whose best arm falls half-way.
        by_topic: share of right choices in the mixed phase by topic.
    """

    arrival: float | None
    mixed: float
    worst: float
    forgetting: float | None
    worst_forgetting: float | None
    learned: float
    slowest: float
    unlearned: int
    fall: FallFigures | None
    by_topic: dict[str, float]


@dataclass(frozen=True, slots=True)
class FallFigures:
    """Shares of right choices in the topic whose best arm falls half-way, and in the others.

    Attributes:
        before: in the quarter of the stream before the fall.
        after, end: after the fall, and in the last quarter of the stream.
        learned: requests of the topic after the fall until `TARGET` of the choices were right.
        others_before, others_after: the same of all other topics.
        lost: mean utility after the fall below the arm that is right then, x 1000 a request of the topic.
    """

    before: float
    after: float
    end: float
    learned: float
    others_before: float
    others_after: float
    lost: float


def topic_figures(arms: NDArray[np.intp], stream: Stream, cost_weight: float) -> TopicFigures:
    """Return the figures of a player's choices."""
    right = stream.right[np.arange(len(arms)), arms]
    mixed_from = stream.mixed_from
    mixed = np.arange(len(arms)) >= mixed_from
    topics = np.unique(stream.topic).tolist()
    shares = {topic: share(right[mixed & (stream.topic == topic)]) for topic in topics}
    known = [one for one in shares.values() if not np.isnan(one)]
    learned = [requests_until_right(right[stream.topic == topic]) for topic in topics]
    forgotten = [
        share(right[~mixed & (stream.topic == topic)][-END:]) - shares[topic] for topic in topics if mixed_from
    ]
    return TopicFigures(
        arrival=share(right[:mixed_from]) if mixed_from else None,
        mixed=share(right[mixed]),
        worst=min(known),
        forgetting=float(np.mean(forgotten)) if forgotten else None,
        worst_forgetting=float(max(forgotten)) if forgotten else None,
        learned=float(np.mean([requests for requests, _ in learned])),
        slowest=float(max(requests for requests, _ in learned)),
        unlearned=sum(not done for _, done in learned),
        fall=_fall_figures(arms, right, stream, cost_weight),
        by_topic={stream.topic_names[topic]: one for topic, one in shares.items()},
    )


def share(right: Bools) -> float:
    """Return the share of true values; NaN for none."""
    return float(right.mean()) if len(right) else float("nan")


def requests_until_right(right: Bools) -> tuple[int, bool]:
    """Return after how many choices `TARGET` of the last `WINDOW` were right, and whether they ever were."""
    if len(right) >= WINDOW:
        recent = np.convolve(right, np.ones(WINDOW), "valid")
        reached = np.flatnonzero(recent >= TARGET * WINDOW - 1e-9)
        if len(reached):
            return int(reached[0]) + WINDOW, True
    return len(right), False


def _fall_figures(arms: NDArray[np.intp], right: Bools, stream: Stream, cost_weight: float) -> FallFigures | None:
    if stream.fallen is None:
        return None
    t = np.arange(len(arms))
    half = stream.halves[1]
    inside, late = stream.topic == stream.fallen, t >= half
    quarter = (t >= half // 2) & ~late
    lost = stream.best_by_topic(cost_weight) - stream.utility(cost_weight)[t, arms]
    return FallFigures(
        before=share(right[inside & quarter]),
        after=share(right[inside & late]),
        end=share(right[inside & (t >= half + (len(arms) - half) // 2)]),
        learned=float(requests_until_right(right[inside & late])[0]),
        others_before=share(right[~inside & quarter]),
        others_after=share(right[~inside & late]),
        lost=float(1000 * lost[inside & late].mean()),
    )
