"""Share of requests that explore, by EXPLORATION_RATE: a table of what the policy does with one kind of prompt.

    python -m benchmarks.exploration

Five models. Three topics are known from 300 rated requests each. The rows are a further topic: without any request, and
after so many of its own, nine in ten of them answered by its best model. All are rated, or one in ten is. In the first
world each topic has another best model (.9 against .4), in the second the same model is best everywhere. The share is
the exact probability that another model is called than the one that is expected to be best.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.bandit.arms import Arm
from shared.bandit.build import build_policy
from shared.bandit.context import Context
from shared.bandit.kinds import Kinds
from shared.bandit.policy import BanditSettings
from shared.bandit.sums import ArmSums, LearnedState, Sums
from shared.bandit.traits import EXTRA_DIMENSION

RATES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)
REQUESTS = (0, 20, 100, 500, 2500, 10_000)
"""Of the topic that is asked about."""
RATED = (1.0, 0.1)
WORLDS = {"a specialist for each topic": True, "one model best everywhere": False}

MODELS = tuple(f"example/model-{i}" for i in range(5))
TOPICS = np.eye(8)[:4]
"""Vectors of their prompts."""
KNOWN_REQUESTS = 300.0
GOOD, BAD = 0.9, 0.4
BEST_SHARE = 0.9


def explored_share(rate: float, requests: float, rated: float, *, specialists: bool) -> float:
    """Return the share of requests of the last topic that explore, after so many of its requests."""
    settings = BanditSettings(exploration_rate=rate)
    policy = build_policy(settings)
    posterior = policy.fit(_state(requests, rated, specialists=specialists), [Arm(model) for model in MODELS])
    context = Context(TOPICS[-1].astype(np.float32))
    decision = policy.decide(posterior, context, MODELS, np.random.default_rng(0))
    return 1.0 - max(decision.views, key=lambda view: view.utility).propensity


def main() -> None:
    """Print the table in Markdown."""
    print(f"| topic, rated | requests | {' | '.join(f'{rate:g}' for rate in RATES)} |")
    print(f"|{'---|' * (len(RATES) + 2)}")
    for world, specialists in WORLDS.items():
        for rated in RATED:
            for requests in REQUESTS:
                shares = [explored_share(rate, requests, rated, specialists=specialists) for rate in RATES]
                cells = " | ".join(f"{share:.3f}" for share in shares)
                print(f"| {world}, {rated:.0%} | {requests:,} | {cells} |")


def _state(requests: float, rated: float, *, specialists: bool) -> LearnedState:
    counts = [*[KNOWN_REQUESTS] * (len(TOPICS) - 1), *([requests] if requests else [])]
    size = len(counts)
    centres = np.pad(TOPICS[:size], ((0, 0), (0, EXTRA_DIMENSION)))  # nothing but text
    kinds = Kinds(
        1, "", round(sum(counts)), size, tuple(range(size)), np.array(counts), centres * np.array(counts)[:, None]
    )
    arms = {}
    for i, model in enumerate(MODELS):
        cells = [_cell(i, topic if specialists else 0, counts[topic], rated) for topic in range(size)]
        arms[model] = ArmSums(_total(cells), {(1, topic): cell for topic, cell in enumerate(cells)})
    return LearnedState("1", arms, kinds)


def _cell(arm: int, best: int, requests: float, rated: float) -> Sums:
    """Return the sums of one model in one topic, of ratings 0 and 1."""
    share = BEST_SHARE if arm == best else (1.0 - BEST_SHARE) / (len(MODELS) - 1)
    labels = share * requests * rated
    score = labels * (GOOD if arm == best else BAD)
    return Sums(labels=labels, score=score, score_sq=score, requests=share * requests)


def _total(cells: Sequence[Sums]) -> Sums:
    names = ("labels", "score", "score_sq", "requests")
    return Sums(**{name: sum(getattr(cell, name) for cell in cells) for name in names})


if __name__ == "__main__":
    main()
