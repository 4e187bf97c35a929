"""Runs of all players over conditions and seeds, in this process or in several."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor

from benchmarks.replays.figures import Run, run_of
from benchmarks.replays.players import Play, players_of
from benchmarks.replays.streams import Condition, make_stream
from benchmarks.replays.worlds import World

Runs = dict[str, list[Run]]
"""One run a seed of every player."""


def play_conditions(
    world: World,
    conditions: Sequence[Condition],
    names: Sequence[str],
    *,
    seeds: int,
    jobs: int,
    tick: Callable[[], None],
) -> Iterator[tuple[Condition, Runs]]:
    """Yield the runs of each condition. With `jobs` above 1, seeds are played in so many processes."""
    if jobs == 1:
        players = players_of(names, world.outcomes)
        for condition in conditions:
            yield condition, play_condition(world, condition, players, range(seeds), tick)
        return
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # inherited by the processes: each uses one core
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, initializer=_take_world, initargs=(world, names)) as pool:
        started = [[pool.submit(_play_seed, condition, seed) for seed in range(seeds)] for condition in conditions]
        for condition, futures in zip(conditions, started, strict=True):
            runs: Runs = {}
            for future in futures:
                _add(runs, future.result())
                tick()
            yield condition, runs


def play_condition(
    world: World, condition: Condition, players: Mapping[str, Play], seeds: Sequence[int], tick: Callable[[], None]
) -> Runs:
    """Return the runs of every player."""
    runs: Runs = {}
    for seed in seeds:
        _add(runs, play_seed(world, condition, players, seed))
        tick()
    return runs


def play_seed(world: World, condition: Condition, players: Mapping[str, Play], seed: int) -> dict[str, Run]:
    """Return one run of every player, on the same stream."""
    stream = make_stream(world.outcomes, condition, seed)
    weight = condition.cost_weight
    return {name: run_of(play(world, stream, condition, seed), stream, weight) for name, play in players.items()}


def _add(runs: Runs, of_seed: Mapping[str, Run]) -> None:
    for name, run in of_seed.items():
        runs.setdefault(name, []).append(run)


_taken: list[tuple[World, dict[str, Play]]] = []
"""World and players of a process of the pool: sent once, not with every seed."""


def _take_world(world: World, names: Sequence[str]) -> None:
    _taken[:] = [(world, players_of(names, world.outcomes))]


def _play_seed(condition: Condition, seed: int) -> dict[str, Run]:
    world, players = _taken[0]
    return play_seed(world, condition, players, seed)
