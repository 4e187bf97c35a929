"""What `auto`, `auto:cheap` and `auto:best` choose: `python -m benchmarks.policies`. No server.

The product's policy learns from one set of recorded prompts as in a replay, each answer rated. Then it decides for
other prompts under the terms of each name; those of `auto` are the defaults of the settings. Printed are the share of
each model, and the recorded score and cost of what was chosen, beside those of each model for all of these prompts.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.replays.players import settings_of
from benchmarks.replays.product import ProductPlayer
from benchmarks.replays.streams import Condition, make_stream
from benchmarks.replays.worlds import World, WorldOptions, load_world
from deploy.simulator.recorded_outcomes import Outcomes
from services.gateway.models.policies import PRESETS, DecisionTerms
from shared.bandit.build import build_policy
from shared.bandit.context import Context
from shared.bandit.decision import Weights
from shared.bandit.policy import BanditSettings
from shared.schemas.terms import Terms
from shared.settings import load_settings

NAMES = ("best", "cheap")
"""The recorded outcomes have no latency, which `auto:fast` weighs."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policies", description=__doc__)
    parser.add_argument("--data", help="folder of recorded outcomes, or the name of a made-up set; else the example")
    parser.add_argument("--learned", type=int, default=1000, help="prompts that are learned from")
    parser.add_argument("--prompts", type=int, default=200, help="other prompts, for which is decided")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    try:
        world = load_world(given.data, WorldOptions())
        sys.stdout.write("\n".join(table(world, given.learned, given.prompts, given.seed)) + "\n")
    except ValueError as error:
        sys.exit(str(error))


def table(world: World, learned: int, prompts: int, seed: int) -> Iterator[str]:
    """Yield the lines of the table. Raises ValueError where the data set has too few prompts."""
    if learned < 1 or prompts < 1 or learned + prompts > len(world.outcomes):
        raise ValueError(f"The data set has {len(world.outcomes)} prompts: choose fewer, and at least one of each.")
    rows = np.random.default_rng([seed, 31]).permutation(len(world.outcomes))
    settings = settings_of(Condition())
    posterior = _learned(world, rows[:learned], settings, seed)
    decided = rows[learned : learned + prompts]
    outcomes = world.outcomes.take(decided)
    yield f"{prompts} prompts of `{outcomes.name}`, after {learned} others with a rating each (seed {seed}):"
    yield ""
    yield f"| Name | {' | '.join(outcomes.models)} | mean score | USD per 1000 answers |"
    yield "|" + "---|" * (len(outcomes.models) + 3)
    for name, weights in _weights():
        policy, rng = build_policy(replace(settings, weights=weights)), np.random.default_rng([seed, 32])
        contexts = [Context(world.vectors[row]) for row in decided]
        chosen = [policy.decide(posterior, one, outcomes.models, rng).arm for one in contexts]
        yield _line(f"`{name}`", [outcomes.models.index(arm) for arm in chosen], outcomes)
    for index, model in enumerate(outcomes.models):
        yield _line(f"always {model}", [index] * prompts, outcomes)


def _learned(world: World, rows: Any, settings: BanditSettings, seed: int) -> Any:
    """Return the posterior after these prompts."""
    outcomes = world.outcomes.take(rows)
    player = ProductPlayer(build_policy(settings), settings, outcomes, world.vectors[rows], seed)
    player.play(make_stream(outcomes, Condition(requests=len(rows)), seed))
    return player.posterior()


def _weights() -> Iterator[tuple[str, Weights]]:
    usual = load_settings({}, None).bandit().weights
    yield "auto", usual
    for name in NAMES:
        yield f"auto:{name}", DecisionTerms(name, Terms(), PRESETS[name]).weights(usual)


def _line(name: str, chosen: Sequence[int], outcomes: Outcomes) -> str:
    share, each = Counter(chosen), np.arange(len(chosen))
    shares = [f"{100 * share[index] / len(chosen):.0f} %" for index in range(len(outcomes.models))]
    score, cost = outcomes.scores[each, chosen].mean(), 1000 * outcomes.costs[each, chosen].mean()
    return f"| {' | '.join([name, *shares, f'{score:.3f}', f'{cost:.3f}'])} |"


if __name__ == "__main__":
    main()
