"""Memory benchmark: growth of the processes over many requests."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise

from benchmarks.load.findings import Findings, Table
from benchmarks.load.processes import rss_mb
from benchmarks.load.rig import Rig

MARKS = (0, 10_000, 50_000, 100_000)
"""Numbers of requests after which memory is measured."""

CONNECTIONS = 16
OURS = ("gateway", "embedder", "learner", "qdrant", "redis")
FIRST_PROMPT = 3_000_000_000


def measure(rig: Rig, found: Findings) -> None:
    """Send requests with unique prompts through the gateway; measure the memory of every process."""
    sizes = {0: _sizes(rig)}
    for before, mark in pairwise(MARKS):
        print(f"memory: up to {mark:,} requests", flush=True)
        _ask(f"{rig.gateway}/v1/chat/completions", before, mark - before)
        sizes[mark] = _sizes(rig)
    gateway = {mark: size["gateway"] for mark, size in sizes.items()}
    found.figures |= {
        "memory": gateway[MARKS[-1]],
        "memory growth": 100 * (gateway[MARKS[-1]] / gateway[MARKS[1]] - 1),
    }
    found.more.append(
        Table(
            "Memory while requests go through",
            f"RSS in MB, routing on, unique prompts, {CONNECTIONS} connections. What Redis and Qdrant hold is data.",
            ("process", *(f"after {mark:,}" for mark in MARKS)),
            [(name, *(f"{sizes[mark][name]:.0f}" for mark in MARKS)) for name in OURS],
        )
    )


def _sizes(rig: Rig) -> dict[str, float]:
    return {name: rss_mb(rig.pids[name]) for name in OURS}


def _ask(url: str, before: int, answers: int) -> None:
    command = [sys.executable, "-m", "benchmarks.load.client", url, "--connections", str(CONNECTIONS)]
    command += ["--answers", str(answers), "--start", str(FIRST_PROMPT + 2 * before)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"memory: the client said {done.stderr[-500:]}")
    failed = json.loads(done.stdout)["failed"]
    if failed > answers / 100:
        raise RuntimeError(f"memory: {failed} of {answers} requests failed")
