"""Players by name: the product's policy, pooled Thompson sampling, references, ablations, fixed arms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.replays.ablations import ABLATIONS, EXPLORES_LESS, LOWER_RATE, TOLD_TOPICS, Ablated, told_topics
from benchmarks.replays.played import Played
from benchmarks.replays.product import ProductPlayer
from benchmarks.replays.references import REFERENCES, Table
from benchmarks.replays.streams import Condition, Stream
from benchmarks.replays.worlds import World
from deploy.simulator.recorded_outcomes import Outcomes
from shared.bandit.baselines import PooledThompson
from shared.bandit.build import build_policy
from shared.bandit.decision import Weights
from shared.bandit.policy import BanditSettings

PRODUCT, POOLED, FIXED = "product", "pooled-ts", "each-fixed"
USUAL = (PRODUCT, POOLED, *REFERENCES, FIXED)
PLAYERS = (*USUAL, *ABLATIONS)

Play = Callable[[World, Stream, Condition, int], Played]


def players_of(names: Sequence[str], outcomes: Outcomes) -> dict[str, Play]:
    """Return the players that were asked for."""
    players: dict[str, Play] = {}
    for name in names:
        if name == PRODUCT:
            players[name] = product_player
        elif name == POOLED:
            players[name] = pooled_player
        elif name in ABLATIONS:
            players[name] = ablated_player(name)
        elif name == FIXED:
            players |= {f"always {model}": fixed_player(i) for i, model in enumerate(outcomes.models)}
        else:
            players[name] = reference_player(name)
    return players


def product_player(world: World, stream: Stream, condition: Condition, seed: int) -> Played:
    """Play the product's policy."""
    settings = settings_of(condition)
    player = ProductPlayer(
        build_policy(settings), settings, world.outcomes, world.vectors, seed, traits=world.traits, condition=condition
    )
    return player.play(stream)


def pooled_player(world: World, stream: Stream, condition: Condition, seed: int) -> Played:
    """Play Thompson sampling per arm, without context."""
    settings = settings_of(condition)
    return ProductPlayer(PooledThompson(settings), settings, world.outcomes, None, seed).play(stream)


def ablated_player(name: str) -> Play:
    """Return the product's policy without one of its parts."""

    def play(world: World, stream: Stream, condition: Condition, seed: int) -> Played:
        settings = settings_of(condition)
        if name == EXPLORES_LESS:
            settings = replace(settings, exploration_rate=LOWER_RATE)
        if name == TOLD_TOPICS:
            world = told_topics(world)
        player = ProductPlayer(
            Ablated(build_policy(settings), name),
            settings,
            world.outcomes,
            world.vectors,
            seed,
            traits=world.traits,
            condition=condition,
        )
        return player.play(stream)

    return play


def reference_player(name: str) -> Play:
    """Return one of `REFERENCES` as a player."""

    def play(world: World, stream: Stream, condition: Condition, seed: int) -> Played:
        table = Table(stream, world.kind_vectors[stream.rows], condition, np.random.default_rng([seed, 3]))
        return REFERENCES[name](table).play()

    return play


def fixed_player(arm: int) -> Play:
    """Return the player that always calls one arm."""

    def play(world: World, stream: Stream, condition: Condition, seed: int) -> Played:  # noqa: ARG001 - the interface
        chosen = np.full(len(stream.rows), arm, dtype=np.intp)
        return Played(chosen, np.full(stream.scores.shape, np.nan))

    return play


def settings_of(condition: Condition) -> BanditSettings:
    """Return the settings of the product's policy under a condition."""
    return BanditSettings(weights=Weights(quality=1.0, latency=0.0, cost=-condition.cost_weight))
