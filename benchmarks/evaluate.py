"""Off-policy evaluation: estimates the utility of other settings, or of a single model, from logged requests.

    python -m services.learner export --out log.jsonl
    python -m benchmarks.evaluate --log log.jsonl --set COST_WEIGHT=-0.5 --arm openai/gpt-4o --uniform
    python -m benchmarks.evaluate --validate --runs 200

Without a target, it evaluates every single model, the uniform random choice and the logged policy. Methods and limits:
docs/evaluation.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.evaluations import tables
from benchmarks.evaluations.log import Log
from benchmarks.evaluations.sources import read_database, read_file
from benchmarks.evaluations.targets import (
    Target,
    Verdict,
    fixed,
    judge,
    other_settings,
    settings_weights,
    uniform,
    with_needed,
)
from benchmarks.evaluations.validate import validate
from deploy.simulator.recorded_outcomes import load_outcomes
from services.learner.commands.progress_bar import progress_bar
from shared.bandit.policy import BanditSettings
from shared.command_names import as_typed
from shared.errors import DependencyError, SettingsError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    options = _parse(arguments)
    try:
        return _validate(options) if options.validate else _evaluate(options)
    except (ValueError, OSError, SettingsError, DependencyError) as error:
        print(error, file=sys.stderr)
        return 1


def _evaluate(options: argparse.Namespace) -> int:
    reading = progress_bar("reading")
    reader = read_database(options.database, reading) if options.log is None else read_file(options.log, reading)
    log = reader.log()
    if not options.json:
        print(tables.describe(log, reader.left_out))
    if log is None:
        print("nothing to evaluate: no request was decided at random, answered and rated", file=sys.stderr)
        return 1
    verdicts = [_judged(target, options) for target in _targets(log, options)]
    if options.json:
        print(json.dumps(_as_json(log, reader.left_out, verdicts), indent=1))
        return 0
    weights = settings_weights(log.weights, options.changes)
    print(
        f"utility = {weights.quality:g} quality + {weights.latency:g} speed {weights.cost:+g} cost / "
        f"{log.dearest_usd:.3g} USD, the cost of the most expensive model"
    )
    print("\n".join(tables.judged(verdict) for verdict in verdicts))
    return 0


def _judged(target: Target, options: argparse.Namespace) -> Verdict:
    verdict = judge(target, np.random.default_rng(options.seed))
    return verdict if verdict.estimates else with_needed(verdict, target, options.logged_rate)


def _targets(log: Log, options: argparse.Namespace) -> Iterator[Target]:
    weights = settings_weights(log.weights, options.changes)
    unknown = set(options.arm) - set(log.arms)
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: not among the models of the log ({', '.join(log.arms)})")
    everything = not (options.arm or options.uniform or options.changes)
    if everything:
        yield Target("as it was", log, log.propensity, weights)
    if options.changes:
        yield other_settings(log, options.changes, options.logged_rate, progress_bar("deciding anew"))
    if options.uniform or everything:
        yield uniform(log, weights)
    for arm in options.arm or (log.arms if everything else ()):
        yield fixed(log, arm, weights)


def _as_json(log: Log, left_out: Counter[str], verdicts: Sequence[Verdict]) -> dict[str, object]:
    return {
        "requests": len(log),
        "left_out": dict(left_out),
        "cost_unit_usd": log.dearest_usd,
        "targets": [_verdict_json(verdict) for verdict in verdicts],
    }


def _verdict_json(verdict: Verdict) -> dict[str, object]:
    needed_at = {f"{rate:g}": needed for rate, needed in verdict.needed_at.items()}
    return asdict(verdict) | {"refused": verdict.support.refusal, "needed_at": needed_at}


def _validate(options: argparse.Namespace) -> int:
    outcomes = load_outcomes(options.data)
    lines = validate(outcomes, options.runs, options.requests, progress_bar(f"validating on {outcomes.name}"))
    if options.json:
        print(json.dumps({"data": outcomes.name, "lines": [asdict(line) for line in lines]}, indent=1))
        return 0
    print(
        f"\n{outcomes.name}: {options.runs} logs of each kind with {options.requests:,} requests. Truth inside the "
        "95 % interval of the utility, of its difference from the logged policy; then bias, root mean square error "
        "and mean half width of the interval, all x 1000\n"
    )
    print(tables.validated(lines))
    return 0


def _change(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        settings_weights(BanditSettings().weights, {name: 0.0})
        return name, float(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from error


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=as_typed("python -m benchmarks.evaluate"),
        description=as_typed(str(__doc__)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--log", type=Path, help=as_typed("file written by `python -m services.learner export`"))
    source.add_argument(
        "--database",
        nargs="?",
        const="",
        metavar="URL",
        help="read the history in PostgreSQL (default: the settings)",
    )
    source.add_argument("--validate", action="store_true", help="check the estimates on logs with known outcomes")
    parser.add_argument("--set", type=_change, action="append", default=[], dest="changes", metavar="NAME=VALUE")
    parser.add_argument("--arm", action="append", default=[], help="evaluate this single model; may be repeated")
    parser.add_argument("--uniform", action="store_true", help="evaluate the uniform random choice")
    parser.add_argument(
        "--logged-rate", type=float, default=BanditSettings().exploration_rate, help="EXPLORATION_RATE of the log"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    parser.add_argument("--data", type=Path, help="validate: folder of recorded outcomes (default: the example)")
    parser.add_argument("--runs", type=int, default=200, help="validate: logs of each kind")
    parser.add_argument("--requests", type=int, default=1500, help="validate: requests per log")
    options = parser.parse_args(arguments)
    options.changes = dict(options.changes)
    return options


if __name__ == "__main__":
    sys.exit(main())
