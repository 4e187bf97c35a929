"""Offline replay: the product's policy and its references on recorded or made-up outcomes.

    python -m benchmarks.replay --data folder --feedback 1,0.3,0.1 --cost-weight 0,0.1,0.3 --seeds 20
    python -m benchmarks.replay --data made-up-clear --stream topics --cost-weight 0

Every player sees the same requests and ratings (paired by seed). Utility = quality - weight x cost / mean cost of the
dearest arm. Prints tables per condition and one over all, and writes JSON; with matplotlib (an extra) PNG plots as
well. `python -m benchmarks.replays.compare` compares the JSON of two versions.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.replays.benchmark_indices import PRIORS
from benchmarks.replays.evidence_table import evidence_table
from benchmarks.replays.figures import Row, gap_per_seed, per_seed, row_of
from benchmarks.replays.judging import JUDGES, NO_JUDGE
from benchmarks.replays.made_up import MADE_UP
from benchmarks.replays.players import PLAYERS, POOLED, PRODUCT, USUAL, players_of
from benchmarks.replays.plots import write_plots
from benchmarks.replays.runs import Runs, play_conditions
from benchmarks.replays.specialists import STRENGTHS
from benchmarks.replays.streams import BY_TOPIC, STREAMS, Condition
from benchmarks.replays.summary import Cell, references_summary, summary
from benchmarks.replays.tables import difference_lines, topic_table, utility_table
from benchmarks.replays.worlds import SYSTEM_PROMPTS, World, WorldOptions, load_world


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    options = _parse(arguments)
    try:
        return _replay(options)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def _replay(options: argparse.Namespace) -> int:
    made = WorldOptions(options.embedding_model, options.cache, options.specialists, options.system_prompts)
    report: list[dict[str, object]] = []
    cells: list[Cell] = []
    for data in options.data or [None]:
        world = load_world(data, made)
        conditions = _conditions(options)
        name, players = world.outcomes.name, players_of(options.policy, world.outcomes)
        tick = _progress_bar(len(conditions) * options.seeds, name)
        for condition, runs in play_conditions(
            world, conditions, options.policy, seeds=options.seeds, jobs=options.jobs, tick=tick
        ):
            rows = rows_of(runs)
            utility, gaps = ({one: of(runs[one]) for one in players} for of in (per_seed, gap_per_seed))
            cells.append(Cell(name, condition, {row.player: row for row in rows}, utility, gaps))
            print(render(world, condition, rows, runs), flush=True)
            report.append(_as_json(name, condition, rows, runs))
            write_plots(options.out, f"{name}-{_slug(condition)}", runs, world.outcomes.models)
            _write(options, report)
    if PRODUCT in options.policy:
        if len(cells) > 1:
            bounds = [name for name in ("known-values", "knn-full-information") if name in options.policy]
            print(f"\nproduct v best fixed / v pooled TS, x 1000 a request\n{summary(cells, PRODUCT, bounds)}")
        print(f"\n{references_summary(cells, PRODUCT)}", flush=True)
        print(f"\n{evidence_table(cells, PRODUCT)}", flush=True)
    return 0


def _conditions(options: argparse.Namespace) -> list[Condition]:
    evidence = itertools.product(options.judge, options.race, options.imported, options.prior)
    return [
        Condition(
            kind=kind,
            requests=options.requests,
            feedback=feedback,
            cost_weight=weight,
            delay=options.delay,
            block=options.block,
            mixed=options.mixed,
            topics=options.topics,
            fall=options.fall,
            judge=judge,
            race=race == "on",
            imported=imported,
            imported_from=options.imported_from,
            prior=prior,
        )
        for kind, feedback, (judge, race, imported, prior), weight in itertools.product(
            options.stream, options.feedback, list(evidence), options.cost_weight
        )
    ]


def rows_of(runs: Runs) -> list[Row]:
    """Return one line a player."""
    pooled, full = runs.get(POOLED), runs.get("knn-full-information")
    return [row_of(name, of_player, pooled, full) for name, of_player in runs.items()]


def render(world: World, condition: Condition, rows: Sequence[Row], runs: Runs) -> str:
    """Return the tables of one condition as text."""
    seeds = len(next(iter(runs.values())))
    parts = [utility_table(world.outcomes.name, condition, seeds, rows)]
    if condition.kind in BY_TOPIC or world.specialists:
        parts.append(topic_table(runs))
    if PRODUCT in runs and len(runs) > 1:
        parts.append(difference_lines(runs, PRODUCT))
    return "\n".join(parts)


def _as_json(data: str, condition: Condition, rows: Sequence[Row], runs: Runs) -> dict[str, object]:
    of_runs = [
        {"player": player, "seed": seed, **run.as_json()}
        for player, of_player in runs.items()
        for seed, run in enumerate(of_player)
    ]
    return {"data": data, **asdict(condition), "rows": [row.as_json() for row in rows], "runs": of_runs}


def _write(options: argparse.Namespace, report: list[dict[str, object]]) -> None:
    """Write what is there so far: a long replay that is stopped keeps its finished conditions."""
    settings = {
        "embedding_model": options.embedding_model,
        "specialists": options.specialists,
        "system_prompts": options.system_prompts,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"seeds": options.seeds, **settings, "conditions": report}, indent=1)
    (options.out / "replay.json").write_text(text, encoding="utf-8")


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

    def whole(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    def words(allowed: Sequence[str]) -> Callable[[str], list[str]]:
        def parse(text: str) -> list[str]:
            parts = list(allowed) if text == "all" else text.split(",")
            unknown = [part for part in parts if part not in allowed]
            if unknown:
                raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(allowed)} or all")
            return parts

        return parse

    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__)
    parser.add_argument(
        "--data", nargs="*", help=f"folders of recorded outcomes, or {', '.join(MADE_UP)}; none: the example data"
    )
    parser.add_argument("--feedback", type=numbers, default=[1.0], help="share of requests that are rated: 1,0.3,0.1")
    parser.add_argument(
        "--judge", type=words([NO_JUDGE, *JUDGES]), default=[NO_JUDGE], help=f"{NO_JUDGE}, {', '.join(JUDGES)}"
    )
    parser.add_argument("--race", type=words(["on", "off"]), default=["on"], help="other models answer beside: on, off")
    parser.add_argument("--import", dest="imported", type=whole, default=[0], help="prompts with known scores: 0,200")
    parser.add_argument("--import-from", dest="imported_from", choices=("same", "other"), default="same")
    parser.add_argument("--prior", type=words(PRIORS), default=["none"], help=f"public indices: {', '.join(PRIORS)}")
    parser.add_argument("--cost-weight", type=numbers, default=[0.0, 0.1, 0.3])
    parser.add_argument("--stream", type=words(list(STREAMS)), default=["shuffled"], help=", ".join(STREAMS))
    parser.add_argument("--policy", type=words(PLAYERS), default=list(USUAL), help=", ".join(PLAYERS))
    parser.add_argument(
        "--specialists", choices=list(STRENGTHS), help="five made-up models with a specialist for each task"
    )
    parser.add_argument(
        "--system-prompts", choices=SYSTEM_PROMPTS, default="none", help="made-up sets: system prompts of the requests"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1, help="processes that play seeds side by side")
    parser.add_argument("--requests", type=int, default=2500)
    parser.add_argument("--block", type=int, default=150, help="stream topics: requests of each topic in turn")
    parser.add_argument("--mixed", type=int, default=1000, help="stream topics: requests of all topics afterwards")
    parser.add_argument("--topics", type=int, default=14, help="streams by topic: the largest so many tasks")
    parser.add_argument("--fall", type=float, default=0.6, help="stream topic-drift: what the best arm loses")
    parser.add_argument("--delay", type=int, default=0, help="requests until a rating arrives")
    parser.add_argument("--embedding-model", default="static")
    parser.add_argument("--cache", type=Path, default=Path(".local/models"))
    parser.add_argument("--out", type=Path, default=Path(".local/replay"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
