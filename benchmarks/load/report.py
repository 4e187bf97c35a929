"""What a run found, as tables, JSON and a picture. Figures are medians over rounds, ratios are made within a round."""

from __future__ import annotations

import importlib
import importlib.util
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.load.measure import Sample
from benchmarks.load.targets import BARE, CHUNKS, DIRECT, UNIQUE

PROFILED = 32
"""Connections at which costs are broken down."""

Cell = tuple[str, int]
"""A target's name and a number of connections."""


@dataclass
class Findings:
    """One run: facts of the machine, samples by round, memory in MB by process, microseconds by part of the gateway."""

    facts: Mapping[str, str]
    rounds: list[list[Sample]] = field(default_factory=list)
    memory_mb: dict[str, float] = field(default_factory=dict)
    breakdown_us: dict[str, float] = field(default_factory=dict)

    def median(self, cell: Cell, figure: Callable[[Sample], float]) -> float:
        """Return the median of a figure over the rounds."""
        return statistics.median(figure(sample) for sample in self._of(cell))

    def against(self, cell: Cell, other: Cell, figure: Callable[[Sample, Sample], float]) -> float:
        """Return the median over the rounds of what `figure` makes of both."""
        return statistics.median(figure(a, b) for a, b in zip(self._of(cell), self._of(other), strict=True))

    def cells(self) -> list[Cell]:
        """Return what was measured, in order."""
        return [(sample.target, sample.connections) for sample in self.rounds[0]] if self.rounds else []

    def _of(self, cell: Cell) -> list[Sample]:
        return [s for samples in self.rounds for s in samples if (s.target, s.connections) == cell]


def tables(found: Findings) -> str:
    """Return everything as Markdown."""
    parts = [_table(("what", "value"), [(name, value) for name, value in found.facts.items()])]
    parts += ["### Whole answers", _whole(found), "### Streams", _streams(found)]
    if found.breakdown_us:
        total = sum(found.breakdown_us.values())
        rows = [(name, f"{us:.0f}", f"{us / total:.0%}") for name, us in found.breakdown_us.items()]
        parts += ["### Where the gateway's processor time goes (routing on, unique prompts, 32 connections, sampled)",
                  _table(("part", "us a request", "share"), [*rows, ("all", f"{total:.0f}", "100%")])]  # fmt: skip
    parts += [
        f"### Processor time of every process (routing on, unique prompts, {PROFILED} connections)",
        _costs(found),
    ]
    memory = [(name, f"{megabytes:.0f}") for name, megabytes in found.memory_mb.items()]
    return "\n\n".join([*parts, "### Memory at the end", _table(("process", "RSS, MB"), memory)]) + "\n"


def _costs(found: Findings) -> str:
    samples = [s for samples in found.rounds for s in samples if (s.target, s.connections) == (UNIQUE, PROFILED)]
    names = [name for name in (samples[0].parts_us if samples else ()) if name != "under test"]
    median = {name: statistics.median(s.parts_us[name] for s in samples) for name in names}
    return _table(("process", "us an answer"), [(name, f"{us:.0f}") for name, us in median.items()])


def _whole(found: Findings) -> str:
    rows = []
    for cell in found.cells():
        name, connections = cell
        if "stream of" in name:
            continue
        bare, direct = (BARE, connections), (DIRECT, connections)
        added = "" if name == DIRECT else f"{found.against(cell, direct, lambda a, b: a.p50_ms - b.p50_ms):.2f}"
        ratios = ["", ""]
        if name != DIRECT:
            ratios = [f"{found.against(cell, bare, lambda a, b: b.cpu_us / a.cpu_us):.2f}",
                      f"{found.against(cell, bare, lambda a, b: a.per_second / b.per_second):.2f}"]  # fmt: skip
        rows.append(
            (
                name,
                str(connections),
                f"{found.median(cell, lambda s: s.per_second):,.0f}",
                f"{found.median(cell, lambda s: s.p50_ms):.2f}",
                f"{found.median(cell, lambda s: s.p99_ms):.2f}",
                added,
                f"{found.median(cell, lambda s: s.cpu_us):.0f}",
                *ratios,
                f"{found.median(cell, lambda s: float(s.failed)):.0f}",
            )
        )
    return _table(
        (
            *("what", "connections", "answers/s", "p50 ms", "p99 ms", "added p50 ms", "CPU us/answer"),
            *("per core v bare", "answers/s v bare", "failed"),
        ),
        rows,
    )


def _streams(found: Findings) -> str:
    rows = []
    for name in (DIRECT, BARE, UNIQUE):
        short, long = (
            next((c for c in found.cells() if c[0] == f"{name}, stream of {n}"), None) for n in (1, CHUNKS + 1)
        )
        if short is None or long is None:
            continue
        direct = (f"{DIRECT}, stream of 1", short[1])
        chunk_us = found.against(long, short, lambda a, b: (a.cpu_us - b.cpu_us) / CHUNKS)
        rows.append(
            (
                name,
                f"{found.median(short, lambda s: s.first_p50_ms):.2f}",
                f"{found.against(short, direct, lambda a, b: a.first_p50_ms - b.first_p50_ms):.2f}",
                f"{found.median(short, lambda s: s.cpu_us):.0f}",
                f"{chunk_us:.1f}",
            )
        )
    return _table(("what", "first token p50 ms", "added ms", "CPU us/stream of 1", "CPU us/chunk"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(found: Findings, folder: Path) -> None:
    """Write `load.json` and, where matplotlib is installed, `load.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "load.json").write_text(json.dumps(asdict(found), indent=1), encoding="utf-8")
    if importlib.util.find_spec("matplotlib") is None:
        return
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=(15, 5), layout="constrained")
    speed, latency, parts = figure.subplots(1, 3)
    whole = [cell for cell in found.cells() if "stream of" not in cell[0] and cell[0] != DIRECT]
    for name in dict.fromkeys(name for name, _ in whole):
        at = [connections for target, connections in whole if target == name]
        speed.plot(at, [1e6 / found.median((name, c), lambda s: s.cpu_us) for c in at], marker="o", label=name)
        latency.plot(at, [found.median((name, c), lambda s: s.p50_ms) for c in at], marker="o", label=name)
    speed.set(title="answers a second of processor time", xlabel="connections", xscale="log", yscale="log")
    latency.set(title="median latency, ms", xlabel="connections", xscale="log", yscale="log")
    speed.legend(fontsize=7)
    parts.barh(list(found.breakdown_us), list(found.breakdown_us.values()))
    parts.set(title="gateway, microseconds of processor time a request")
    figure.savefig(folder / "load.png", dpi=110)
