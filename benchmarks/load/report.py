"""Report of a run: tables, JSON and a chart."""

from __future__ import annotations

import importlib
import importlib.util
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.load import goals
from benchmarks.load.findings import PROFILED, Findings
from benchmarks.load.targets import BARE, CHUNKS, DIRECT, STREAMS, UNIQUE, stream_of


def tables(found: Findings) -> str:
    """Return the report as Markdown."""
    parts = [_table(("what", "value"), [(name, value) for name, value in found.facts.items()])]
    parts += ["### Targets", _table(("what", "asked", "measured", ""), goals.rows(found))]
    if found.rounds:
        parts += ["### Whole answers", _whole(found), "### Streams", _streams(found), *_where(found)]
    for table in found.more:
        parts += [f"### {table.title}", table.note, _table(table.head, table.rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _where(found: Findings) -> list[str]:
    """Return the tables of processor time and memory."""
    parts = []
    if found.breakdown_us:
        total = sum(found.breakdown_us.values())
        rows = [(name, f"{us:.0f}", f"{us / total:.0%}") for name, us in found.breakdown_us.items()]
        parts += ["### Where the gateway's processor time goes (routing on, unique prompts, 32 connections, sampled)",
                  _table(("part", "us a request", "share"), [*rows, ("all", f"{total:.0f}", "100%")])]  # fmt: skip
    title = f"### Processor time of every process (routing on, unique prompts, {PROFILED} connections)"
    memory = [(name, f"{megabytes:.0f}") for name, megabytes in found.memory_mb.items()]
    return [*parts, title, _costs(found), "### Memory at the end", _table(("process", "RSS, MB"), memory)]


def _costs(found: Findings) -> str:
    samples = [s for samples in found.rounds for s in samples if (s.target, s.connections) == (UNIQUE, PROFILED)]
    names = [name for name in (samples[0].parts_us if samples else ()) if name != "under test"]
    median = {name: statistics.median(s.parts_us[name] for s in samples) for name in names}
    rows = [(name, f"{us:.0f}") for name, us in median.items()]
    if samples:
        rows.append(
            ("the router: " + ", ".join(goals.ROUTER), f"{statistics.median(map(goals.router_us, samples)):.0f}")
        )
    return _table(("process", "us an answer"), rows)


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
                f"{found.median(cell, lambda s: s.degraded):.1%}",
            )
        )
    return _table(
        (
            *("what", "connections", "answers/s", "p50 ms", "p99 ms", "added p50 ms", "CPU us/answer"),
            *("per core v bare", "answers/s v bare", "failed", "degraded"),
        ),
        rows,
    )


def _streams(found: Findings) -> str:
    rows = []
    for name in (DIRECT, BARE, UNIQUE):
        one, short, long = (
            (stream_of(name, 1), 1),
            (stream_of(name, 1), STREAMS),
            (stream_of(name, CHUNKS + 1), STREAMS),
        )
        if long not in found.cells():
            continue
        direct = (stream_of(DIRECT, 1), 1)
        chunk_us = found.against(long, short, lambda a, b: (a.cpu_us - b.cpu_us) / CHUNKS)
        rows.append(
            (
                name,
                f"{found.median(one, lambda s: s.first_p50_ms):.2f}",
                f"{found.against(one, direct, lambda a, b: a.first_p50_ms - b.first_p50_ms):.2f}",
                f"{found.median(short, lambda s: s.first_p50_ms):.2f}",
                f"{found.median(short, lambda s: s.cpu_us):.0f}",
                f"{chunk_us:.1f}",
            )
        )
    head = ("what", "first token p50 ms, one at a time", "added ms", f"p50 ms, {STREAMS} at a time")
    return _table((*head, "CPU us/stream of 1", "CPU us/chunk"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(found: Findings, folder: Path) -> None:
    """Write `load.json` and, if matplotlib is installed, `load.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "load.json").write_text(json.dumps(asdict(found), indent=1), encoding="utf-8")
    if not found.rounds or importlib.util.find_spec("matplotlib") is None:
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
