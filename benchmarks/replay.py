"""Offline replay: the product's policy and its references on recorded outcomes of real models.

    python -m benchmarks.replay --data folder --feedback 1,0.3,0.1 --cost-weight 0,0.1,0.3 --seeds 20

Every player sees the same requests and ratings (paired by seed). Utility = quality - weight x cost / mean cost of the
dearest arm. Prints a table per condition and writes JSON; with matplotlib (an extra) PNG plots as well.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.replays.ablations import ABLATIONS, Ablated
from benchmarks.replays.figures import Row, Run, row_of, run_of
from benchmarks.replays.plots import write_plots
from benchmarks.replays.product import Played, ProductPlayer
from benchmarks.replays.references import REFERENCES, Table
from benchmarks.replays.streams import STREAMS, Condition, Stream, make_stream
from benchmarks.replays.summary import Cell, summary
from benchmarks.replays.vectors import prompt_vectors
from deploy.simulator.recorded_outcomes import Outcomes, load_outcomes
from shared.bandit.baselines import PooledThompson
from shared.bandit.build import build_policy
from shared.bandit.decision import Weights
from shared.bandit.policy import BanditSettings

PRODUCT, POOLED, FIXED = "product", "pooled-ts", "each-fixed"
USUAL = (PRODUCT, POOLED, *REFERENCES, FIXED)
PLAYERS = (*USUAL, *ABLATIONS)


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """One data set with its vectors."""

    outcomes: Outcomes
    vectors: NDArray[np.float32]


Play = Callable[[World, Stream, Condition, int], Played]


def product_player(world: World, stream: Stream, condition: Condition, seed: int) -> Played:
    """Play the product's policy."""
    settings = _settings(condition)
    return ProductPlayer(build_policy(settings), settings, world.outcomes, world.vectors, seed).play(stream)


def pooled_player(world: World, stream: Stream, condition: Condition, seed: int) -> Played:
    """Play Thompson sampling per arm, without context."""
    settings = _settings(condition)
    return ProductPlayer(PooledThompson(settings), settings, world.outcomes, None, seed).play(stream)


def ablated_player(name: str) -> Play:
    """Return the product's policy without one of its parts."""

    def play(world: World, stream: Stream, condition: Condition, seed: int) -> Played:
        settings = _settings(condition)
        policy = Ablated(build_policy(settings), name)
        return ProductPlayer(policy, settings, world.outcomes, world.vectors, seed).play(stream)

    return play


def reference_player(name: str) -> Play:
    """Return one of `REFERENCES` as a player."""

    def play(world: World, stream: Stream, condition: Condition, seed: int) -> Played:
        table = Table(stream, world.vectors[stream.rows], condition, np.random.default_rng([seed, 3]))
        return REFERENCES[name](table).play()

    return play


def fixed_player(arm: int) -> Play:
    """Return the player that always calls one arm."""

    def play(world: World, stream: Stream, condition: Condition, seed: int) -> Played:  # noqa: ARG001 - the interface
        chosen = np.full(len(stream.rows), arm, dtype=np.intp)
        return Played(chosen, np.full(stream.scores.shape, np.nan))

    return play


def _settings(condition: Condition) -> BanditSettings:
    return BanditSettings(weights=Weights(quality=1.0, latency=0.0, cost=-condition.cost_weight))


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


def play_condition(
    world: World, condition: Condition, players: dict[str, Play], seeds: Sequence[int], tick: Callable[[], None]
) -> dict[str, list[Run]]:
    """Return the runs of every player, one per seed."""
    runs: dict[str, list[Run]] = {name: [] for name in players}
    for seed in seeds:
        stream = make_stream(world.outcomes, condition, seed)
        for name, play in players.items():
            runs[name].append(run_of(play(world, stream, condition, seed), stream, condition.cost_weight))
            tick()
    return runs


def rows_of(runs: dict[str, list[Run]]) -> list[Row]:
    """Return one line a player."""
    pooled, full = runs.get(POOLED), runs.get("knn-full-information")
    return [row_of(name, of_player, pooled, full) for name, of_player in runs.items()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    options = _parse(arguments)
    report: list[dict[str, object]] = []
    cells: list[Cell] = []
    for folder in options.data or [None]:
        outcomes = load_outcomes(folder)
        world = World(outcomes, prompt_vectors(outcomes, options.embedding_model, options.cache))
        players = players_of(options.policy, outcomes)
        conditions = [
            Condition(kind, options.requests, feedback, weight, options.delay)
            for kind, feedback, weight in itertools.product(options.stream, options.feedback, options.cost_weight)
        ]
        tick = _progress_bar(len(conditions) * len(players) * options.seeds, outcomes.name)
        for condition in conditions:
            runs = play_condition(world, condition, players, range(options.seeds), tick)
            rows = rows_of(runs)
            cells.append(Cell(outcomes.name, condition, {row.player: row for row in rows}))
            print(render(outcomes.name, condition, options.seeds, rows), flush=True)
            report.append({"data": outcomes.name, **asdict(condition), "rows": [row.as_json() for row in rows]})
            write_plots(options.out, f"{outcomes.name}-{_slug(condition)}", runs, outcomes.models)
    if len(cells) > 1 and PRODUCT in options.policy:
        bounds = [name for name in ("known-values", "knn-full-information") if name in options.policy]
        print(f"\nproduct v best fixed / v pooled TS, x 1000 a request\n{summary(cells, PRODUCT, bounds)}", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "replay.json").write_text(json.dumps({"seeds": options.seeds, "conditions": report}, indent=1))
    return 0


def render(data: str, condition: Condition, seeds: int, rows: Sequence[Row]) -> str:
    """Return the table of one condition as text."""
    head = (
        f"\n{data}: {condition.kind}, feedback {condition.feedback:.0%}, cost weight {condition.cost_weight}, "
        f"{seeds} seeds, delay {condition.delay}; differences x 1000 a request, ± 95 %\n"
        f"{'player':34}{'utility':>8}{'quality':>8}{'cost':>7}{'v best fixed':>16}{'worst':>7}{'v pooled TS':>16}"
        f"{'first200':>9}{'last500':>8}{'crossing':>9}{'of gap':>7}{'calibr.':>8}"
    )
    lines = [
        f"{row.player[:33]:34}{row.utility:8.4f}{row.quality:8.4f}{row.cost:7.3f}"
        f"{_pm(row.against_best, row.interval):>16}{row.worst:7.0f}{_pm(row.against_pooled, row.pooled_interval):>16}"
        f"{-row.regret_200:9.0f}{row.last_500:8.1f}{_or_dash(row.crossing):>9}"
        f"{'-' if row.share_of_gap is None else f'{row.share_of_gap:.0%}':>7}"
        f"{'-' if row.calibration is None else f'{row.calibration:.4f}':>8}"
        for row in rows
    ]
    return "\n".join([head, *lines])


def _pm(value: float | None, half: float | None) -> str:
    return "-" if value is None or half is None else f"{value:+.1f} ± {half:.1f}"


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)


def _slug(condition: Condition) -> str:
    return f"{condition.kind}-f{condition.feedback:g}-w{condition.cost_weight:g}"


def _progress_bar(total: int, name: str) -> Callable[[], None]:
    started, done = time.monotonic(), 0

    def tick() -> None:
        nonlocal done
        done += 1
        if sys.stderr.isatty():
            left = (time.monotonic() - started) / done * (total - done)
            bar = "#" * (30 * done // total)
            end = "\n" if done == total else ""
            print(f"\r{name} [{bar:30}] {done}/{total}, {left:.0f} s left ", end=end, file=sys.stderr)

    return tick


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    def numbers(text: str) -> list[float]:
        return [float(part) for part in text.split(",")]

    def words(allowed: Sequence[str]) -> Callable[[str], list[str]]:
        def parse(text: str) -> list[str]:
            parts = list(allowed) if text == "all" else text.split(",")
            unknown = [part for part in parts if part not in allowed]
            if unknown:
                raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(allowed)} or all")
            return parts

        return parse

    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__)
    parser.add_argument("--data", type=Path, nargs="*", help="folders of recorded outcomes; none: the example data")
    parser.add_argument("--feedback", type=numbers, default=[1.0], help="share of requests that are rated: 1,0.3,0.1")
    parser.add_argument("--cost-weight", type=numbers, default=[0.0, 0.1, 0.3])
    parser.add_argument("--stream", type=words(list(STREAMS)), default=["shuffled"], help=", ".join(STREAMS))
    parser.add_argument("--policy", type=words(PLAYERS), default=list(USUAL), help=", ".join(PLAYERS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=2500)
    parser.add_argument("--delay", type=int, default=0, help="requests until a rating arrives")
    parser.add_argument("--embedding-model", default="static")
    parser.add_argument("--cache", type=Path, default=Path(".local/models"))
    parser.add_argument("--out", type=Path, default=Path(".local/replay"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
