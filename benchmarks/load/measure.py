"""One measurement: so many connections against one target for a while, with the processor time that it took."""

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
"""First number of each measurement's prompts: none is ever asked again."""


_DEGRADED = "llm_router_degraded_decisions_total{"

SETTLED, SETTLE_S = 16, 30.0
"""Events and points that may wait when a measurement begins, and how long it waits for more of them."""
BUILD_S, SWITCH_S = 120.0, 1.0
"""How long a measurement of one request at a time waits for a graph that is being built, and for what follows it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one measurement gave; `cpu_us` is the processor time of the process under test for one answer.

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
    """Measures targets of one rig."""

    def __init__(self, rig: Rig, seconds: float, folder: Path) -> None:
        self._rig = rig
        self._seconds = seconds
        self._redis = Redis.from_url(rig.redis)
        self._wrk = shutil.which("wrk")
        self._topics = folder / "topics.txt"
        self._topics.write_text("\n".join(TOPICS) + "\n", encoding="utf-8")

    @property
    def client(self) -> str:
        """Who asks for whole answers; streams are always asked for by our own client."""
        return "wrk" if self._wrk else "benchmarks.load.client"

    def measure(self, target: Target, connections: int) -> Sample:
        """Return one sample, taken when what was asked before has been learned. Raises RuntimeError where it failed.

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
        """Wait until nothing is left to learn: it would take its time from the next measurement."""
        until = time.monotonic() + SETTLE_S
        while time.monotonic() < until:
            waiting = self._redis.xlen(redis_keys.EVENTS), self._redis.zcard(redis_keys.UNINDEXED)
            if max(cast("tuple[int, int]", waiting)) < SETTLED:
                return
            time.sleep(0.05)

    def _wait_for_graph(self) -> None:
        """Wait until the engine does not build a graph, and has changed over to the one that it has built."""
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
        """Return how often a gateway has so far decided without something that it asks."""
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
