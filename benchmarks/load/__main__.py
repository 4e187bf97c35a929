"""Command `make bench`. docs/performance/results.md has the method and the results."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from benchmarks.load import embedding, keeping, learning, searching, storing
from benchmarks.load.breakdown import by_part
from benchmarks.load.findings import PROFILED, Findings
from benchmarks.load.measure import Meter
from benchmarks.load.peers import install, peers, versions
from benchmarks.load.processes import cpu_model, rss_mb
from benchmarks.load.report import tables, write
from benchmarks.load.rig import Rig, cores, rig
from benchmarks.load.targets import UNIQUE, Target, drowsy, streamed, targets
from deploy.interpreter import optimised
from deploy.local.plan import ROOT
from shared.errors import DependencyError

PARTS = ("load", "learner", "memory", "storage", "embedder", "search")
MARKS = "<!-- bench: begin -->", "<!-- bench: end -->"


def main() -> int:
    """Measure, print and write the results; return the exit code."""
    options = _options()
    try:
        if options.peers:
            install()
        found = Findings(_facts(with_peers=options.peers))
        with tempfile.TemporaryDirectory() as name:
            _run(found, options, Path(name))
    except (DependencyError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"bench: {error}")
        return 1
    found.facts = {**found.facts, "load after": f"{os.getloadavg()[0]:.1f}"}
    text = tables(found)
    print(text)
    write(found, options.out)
    if options.page:
        head, rest = options.page.read_text(encoding="utf-8").split(MARKS[0])
        options.page.write_text(f"{head}{MARKS[0]}\n{text}{MARKS[1]}{rest.split(MARKS[1])[1]}", encoding="utf-8")
    return 0


def _run(found: Findings, options: argparse.Namespace, folder: Path) -> None:
    parts = options.parts or (PARTS if options.page else PARTS[:1])
    if {"load", "learner"} & set(parts):
        with rig() as running:
            if "load" in parts:
                _measure(running, found, options, folder)
            if "learner" in parts:
                learning.measure(running, found)
        if "load" in parts and options.profile:
            _profile(found, options, folder)
    if "memory" in parts:
        with rig() as running:  # a new rig, without the history of the load
            keeping.measure(running, found)
    if "storage" in parts:
        storing.measure(found)
    if "embedder" in parts:
        embedding.measure(found, options.rounds, options.seconds, folder)
    if "search" in parts:
        searching.measure(found, options.points, folder)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="duration of one measurement")
    parser.add_argument(
        "--connections", type=int, nargs="+", default=[1, 32, 128], help="beside 1, which is always measured"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="what to measure (default: load; a page needs all)")
    parser.add_argument(
        "--points",
        type=int,
        nargs="+",
        default=[1_000, 100_000],
        help="numbers of stored points for searches",
    )
    parser.add_argument("--peers", action="store_true", help="also measure LiteLLM and Portkey (installed if missing)")
    parser.add_argument("--no-profile", dest="profile", action="store_false", help="no breakdown of the gateway's time")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks" / "out", help="folder of load.json and load.png"
    )
    parser.add_argument("--page", type=Path, help="page to write the tables into, between its marks")
    return parser.parse_args()


def _measure(running: Rig, found: Findings, options: argparse.Namespace, folder: Path) -> None:
    bare, gateway = running.pids["bare proxy"], running.pids["gateway"]
    meter = Meter(running, options.seconds, folder)
    found.facts = {**found.facts, "client": meter.client}
    no_peers: list[Target] = []
    connections = sorted({1, *options.connections})
    whole = targets(running.upstream, running.bare, bare, running.gateway, gateway)
    with peers(running, folder) if options.peers else nullcontext(no_peers) as others:
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", flush=True)
            samples = [meter.measure(one, many) for one in (*whole, *others) for many in connections]
            samples += [meter.measure(*one) for one in streamed(whole)]
            found.rounds.append([*samples, *(meter.measure(one, 1) for one in drowsy(whole))])
        found.memory_mb = {name: rss_mb(pid) for name, pid in running.pids.items()}


def _profile(found: Findings, options: argparse.Namespace, folder: Path) -> None:
    print("profile", flush=True)
    stacks = folder / "stacks.json"
    with rig(stacks) as running:
        meter = Meter(running, 5 * options.seconds, folder)
        gateway = Target(UNIQUE, f"{running.gateway}/v1/chat/completions", running.pids["gateway"])
        meter.measure(replace(gateway, kind="repeated"), PROFILED)  # warm
        os.kill(running.pids["gateway"], signal.SIGUSR1)
        cpu_us = meter.measure(gateway, PROFILED).cpu_us
    found.breakdown_us = by_part(json.loads(stacks.read_text(encoding="utf-8")), cpu_us)


def _facts(*, with_peers: bool) -> dict[str, str]:
    own, others = cores()
    libraries = ("aiohttp", "uvloop", "redis", "orjson", "numpy", "pydantic")
    return {
        "processor": f"{cpu_model()}, {os.cpu_count()} cores",
        "cores": f"{own}: the process under test, alone; {', '.join(map(str, others))}: everything else",
        "load before": f"{os.getloadavg()[0]:.1f} (below 0.5 on a machine that does nothing else)",
        "system": platform.platform(),
        "Python": f"{platform.python_version()}, built {'with' if optimised() else 'without'} PGO",
        **{name: version(name) for name in libraries},
        **(versions() if with_peers else {}),
    }


if __name__ == "__main__":
    raise SystemExit(main())
