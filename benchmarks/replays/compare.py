"""Comparison of two versions of the product by their replays.

    python -m benchmarks.replays.compare before after

Pairs the runs of one player in two JSON files of `benchmarks.replay` (or the folders that hold them) by data set,
condition and seed, and prints what the second gains over the first, x 1000 a request. Both must have played the same
streams; runs that only one of them has are left out, and counted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.replays.differences import Difference, difference
from benchmarks.replays.streams import Condition

Floats = NDArray[np.float64]
SHARES = ("arrival", "mixed", "worst")


@dataclass(frozen=True, slots=True)
class Key:
    """A data set under one condition."""

    data: str
    condition: Condition


Runs = dict[Key, dict[int, Mapping[str, Any]]]
"""By data set and condition, and by seed."""


@dataclass(frozen=True, slots=True, eq=False)
class Paired:
    """One data set under one condition: utility of both by seed, x 1000; shares of right choices, means of both."""

    key: Key
    seeds: tuple[int, ...]
    before: Floats
    after: Floats
    shares: dict[str, tuple[float, float]]

    @property
    def gain(self) -> Difference:
        """What the second gains."""
        return difference(self.after, self.before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replays.compare", description=__doc__)
    parser.add_argument("before", type=Path, help="replay.json of the first version, or its folder")
    parser.add_argument("after", type=Path, help="replay.json of the second version, or its folder")
    parser.add_argument("--player", default="product")
    options = parser.parse_args(arguments)
    try:
        before, after = (read_runs(path, options.player) for path in (options.before, options.after))
        pairs = paired(before, after)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    left_out = sum(len(seeds) for runs in (before, after) for seeds in runs.values())
    left_out -= 2 * sum(len(pair.seeds) for pair in pairs)
    print(render(pairs, left_out))
    return 0


def read_runs(path: Path, player: str) -> Runs:
    """Return the runs of one player. Raises ValueError where the file holds no single runs."""
    file = path / "replay.json" if path.is_dir() else path
    names = {field.name for field in fields(Condition)}
    runs: Runs = {}
    for cell in json.loads(file.read_text("utf-8"))["conditions"]:
        if "runs" not in cell:
            raise ValueError(f"{file}: written by an older version, without single runs; replay it again")
        key = Key(cell["data"], Condition(**{name: value for name, value in cell.items() if name in names}))
        found = {int(run["seed"]): run for run in cell["runs"] if run["player"] == player}
        runs.setdefault(key, {}).update(found)
    return runs


def paired(before: Runs, after: Runs) -> list[Paired]:
    """Return what both have. Raises ValueError for nothing."""
    pairs = []
    for key, theirs in before.items():
        seeds = tuple(sorted(theirs.keys() & after.get(key, {}).keys()))
        if not seeds:
            continue
        ours = after[key]
        old, new = (1000 * np.array([runs[seed]["utility"] for seed in seeds]) for runs in (theirs, ours))
        shares = {}
        for name in SHARES:
            values = [[runs[seed]["topics"][name] for seed in seeds] for runs in (theirs, ours)]
            if None not in values[0] + values[1]:
                shares[name] = (float(np.mean(values[0])), float(np.mean(values[1])))
        pairs.append(Paired(key, seeds, old, new, shares))
    if not pairs:
        raise ValueError("no run of the player is in both files under the same condition and seed")
    return pairs


def render(pairs: Sequence[Paired], left_out: int) -> str:
    """Return a line for each data set and condition, one for each stream and share of ratings, and one over all."""
    lines = ["| data, stream, rated, weight | seeds | gain | worst seed | right on arrival | mixed | worst topic |"]
    lines.append("|---" * 7 + "|")
    for pair in pairs:
        gain, worst = pair.gain, int((pair.after - pair.before).argmin())
        shares = ["{:.2f} → {:.2f}".format(*pair.shares[name]) if name in pair.shares else "" for name in SHARES]
        cells = [
            _title(pair.key), str(len(pair.seeds)), f"{gain.mean:+.1f} ± {gain.half:.1f}{_mark(gain)}",
            f"{gain.worst:+.0f} (seed {pair.seeds[worst]})", *shares,
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    grouped: dict[str, list[Paired]] = defaultdict(list)
    for pair in pairs:
        grouped[f"{pair.key.condition.kind}, {pair.key.condition.feedback:.0%} rated"].append(pair)
    lines.append("")
    lines += [_together(title, group) for title, group in grouped.items()]
    if len(grouped) > 1:
        lines.append(_together("all", pairs))
    if left_out:
        lines.append(f"{left_out} runs are in one file only and are left out.")
    return "\n".join(lines)


def _together(title: str, pairs: Sequence[Paired]) -> str:
    """Return the mean over data sets and weights; its interval is over the seeds that all of them have."""
    seeds = sorted(set.intersection(*(set(pair.seeds) for pair in pairs)))
    gains = [pair.gain for pair in pairs]
    mean = float(np.mean([gain.mean for gain in gains]))
    rows = [(pair.after - pair.before)[[pair.seeds.index(seed) for seed in seeds]] for pair in pairs]
    half = difference(np.mean(rows, axis=0), np.zeros(len(seeds))).half if seeds else float("nan")
    worst = min(pairs, key=lambda pair: pair.gain.mean)
    seed = min(pairs, key=lambda pair: pair.gain.worst)
    return (
        f"{title}: {mean:+.1f} ± {half:.1f} over {len(pairs)} cells, significantly better in "
        f"{sum(gain.better for gain in gains)}, significantly worse in {sum(gain.worse for gain in gains)}; "
        f"worst cell {_title(worst.key)} {worst.gain.mean:+.1f} ± {worst.gain.half:.1f}; "
        f"worst seed {seed.gain.worst:+.0f} ({_title(seed.key)})"
    )


def _mark(gain: Difference) -> str:
    return " *" if gain.worse else " +" if gain.better else ""


def _title(key: Key) -> str:
    condition = key.condition
    return f"{key.data}, {condition.kind}, {condition.feedback:.0%}, {condition.cost_weight:g}"


if __name__ == "__main__":
    sys.exit(main())
