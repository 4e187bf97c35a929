"""One measurement: load on one target over a number of connections, with its processor time."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from redis import Redis

from benchmarks.load.awake import awake
from benchmarks.load.processes import cpu_s, tree
from benchmarks.load.questions import TOPICS
from benchmarks.load.rig import Rig
from benchmarks.load.targets import Target
from shared.storage import redis_keys

_START = itertools.count(1_000_000, 20_000_000)
"""First prompt number of each measurement: no prompt is repeated."""


_DEGRADED = "llm_router_degraded_decisions_total{"

SETTLED, SETTLE_S = 16, 30.0
"""Events and points that may wait at the start of a measurement, and the longest wait for more to be processed."""
BUILD_S, SWITCH_S = 120.0, 1.0
"""Longest wait of a measurement of single requests for a graph build and the switch after it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Results of one measurement; `cpu_us`: processor time of the tested process per response.

    `parts_us` is that of every process, by name; `degraded` the share of answers for which embedder, Qdrant or
    Redis was late or away.
    """

    target: str
    connections: int
    per_second: float
    p50_ms: float
    p99_ms: float
    first_p50_ms: float
    cpu_us: float
    parts_us: dict[str, float]
    failed: int
    degraded: float = 0.0


class Meter:
    """Measurements of the targets of one rig."""

    def __init__(self, rig: Rig, seconds: float, folder: Path) -> None:
        self._rig = rig
        self._seconds = seconds
        self._redis = Redis.from_url(rig.redis)
        self._wrk = shutil.which("wrk")
        self._topics = folder / "topics.txt"
        self._topics.write_text("\n".join(TOPICS) + "\n", encoding="utf-8")

    @property
    def client(self) -> str:
        """Name of the client for whole responses; streams always use our own client."""
        return "wrk" if self._wrk else "benchmarks.load.client"

    def measure(self, target: Target, connections: int) -> Sample:
        """Return one sample, taken when earlier requests have been learned. Raises RuntimeError when it fails.

        Of one request at a time the cores are kept awake, but for a target that is `drowsy`, and no graph is built of
        what came before.
        """
        if connections == 1:
            self._wait_for_graph()
        self._settle()
        cores = (self._rig.own_core, *self._rig.other_cores) if connections == 1 and not target.drowsy else ()
        with awake(cores) if cores else nullcontext():
            return self._sample(target, connections)

    def _settle(self) -> None:
        """Wait until nothing is left to learn, which would take time from the next measurement."""
        until = time.monotonic() + SETTLE_S
        while time.monotonic() < until:
            waiting = self._redis.xlen(redis_keys.EVENTS), self._redis.zcard(redis_keys.UNINDEXED)
            if max(cast("tuple[int, int]", waiting)) < SETTLED:
                return
            time.sleep(0.05)

    def _wait_for_graph(self) -> None:
        """Wait until the engine builds no graph and has switched to the last one."""
        until, was_built = time.monotonic() + BUILD_S, False
        while len(tree(self._rig.pids["qdrant"])) > 1 and time.monotonic() < until:
            was_built = True
            time.sleep(0.1)
        if was_built:
            time.sleep(SWITCH_S)

    def _sample(self, target: Target, connections: int) -> Sample:
        names = {**self._rig.pids, **({"under test": target.pid} if target.pid else {})}
        before, missed = {name: cpu_s(pid) for name, pid in names.items()}, self._missed(target)
        command = self._command(target, connections)
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        try:
            report = json.loads(done.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            raise RuntimeError(f"{target.name}: the client said {done.stdout[-500:]} {done.stderr[-500:]}") from None
        spent = {name: cpu_s(pid) - before[name] for name, pid in names.items()}
        answers = max(report["all_answers"] if "all_answers" in report else report["answers"], 1)
        parts = {name: 1e6 * seconds / answers for name, seconds in spent.items()}
        return Sample(
            target=target.name,
            connections=connections,
            per_second=report["per_second"],
            p50_ms=report["p50_ms"],
            p99_ms=report["p99_ms"],
            first_p50_ms=report.get("first_p50_ms", report["p50_ms"]),
            cpu_us=parts.get("under test", parts["upstream"]),
            parts_us=parts,
            failed=int(report["failed"]),
            degraded=(self._missed(target) - missed) / answers,
        )

    def _missed(self, target: Target) -> float:
        """Return how many degraded decisions a gateway has made so far."""
        if not target.url.startswith(self._rig.gateway):
            return 0.0
        with urllib.request.urlopen(f"{self._rig.gateway}/metrics", timeout=10) as answer:  # noqa: S310 - our own
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(_DEGRADED))

    def _command(self, target: Target, connections: int) -> list[str]:
        start = str(next(_START))
        if self._wrk and not target.chunks:
            threads = min(2, connections)
            run = [self._wrk, "-t", str(threads), "-c", str(connections), "-d", f"{self._seconds:.0f}", "--latency"]
            script = Path(__file__).with_name("wrk.lua")
            asked = [start, target.kind, target.model or "-", target.headers or "-", str(self._topics)]
            return [*run, "-s", str(script), target.url, "--", *asked]
        run = [sys.executable, "-m", "benchmarks.load.client", target.url, "--connections", str(connections)]
        run += ["--seconds", str(self._seconds), "--kind", target.kind, "--start", start]
        run += ["--chunks", str(target.chunks), "--headers", target.headers]
        return [*run, "--model", target.model] if target.model else run
