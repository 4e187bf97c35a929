"""Plots of one condition, if matplotlib is installed: reward over time, cost against quality, share per arm."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import numpy as np

from benchmarks.replays.figures import Run


def write_plots(folder: Path, name: str, runs: dict[str, list[Run]], models: tuple[str, ...]) -> None:
    """Write `<name>.png`; do nothing without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        return
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=(18, 5), layout="constrained")
    time, trade, share = figure.subplots(1, 3)
    learning = {player: of_player for player, of_player in runs.items() if not player.startswith("always ")}
    for player, of_player in learning.items():
        gap = np.mean([run.utility - run.best_fixed for run in of_player], axis=0)
        time.plot(1000 * np.cumsum(gap) / np.arange(1, len(gap) + 1), label=player)
    time.axhline(0, color="black", linewidth=0.8)
    time.set(title="utility against best fixed so far, x 1000", xlabel="requests", ylim=(-200, 60))
    time.legend(fontsize=7, loc="lower right")
    for player, of_player in runs.items():
        cost, quality = (
            float(np.mean([getattr(run, kind).mean() for run in of_player])) for kind in ("cost", "quality")
        )
        trade.scatter(cost, quality, marker="x" if player.startswith("always ") else "o")
        trade.annotate(player.removeprefix("always ").rpartition("/")[2], (cost, quality), fontsize=6)
    trade.set(title="cost against quality", xlabel="cost, 1 = dearest arm", ylabel="quality")
    first = next(iter(runs.values()))
    blocks = np.array(
        [[np.bincount(part, minlength=len(models)) for part in np.array_split(r.arms, 25)] for r in first]
    )
    shares = blocks.sum(axis=0) / blocks.sum(axis=(0, 2))[:, None]
    share.stackplot(np.linspace(0, len(first[0].arms), 25), shares.T, labels=models)
    share.set(title=f"share per arm: {next(iter(runs))}", xlabel="requests", ylim=(0, 1))
    share.legend(fontsize=6, loc="lower right")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=110)
