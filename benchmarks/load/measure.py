"""One measurement: so many connections against one target for a while, with the processor time that it took."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.processes import cpu_s
from benchmarks.load.questions import TOPICS
from benchmarks.load.rig import Rig
from benchmarks.load.targets import Target

_START = itertools.count(1_000_000, 20_000_000)
"""First number of each measurement's prompts: none is ever asked again."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one measurement gave; `cpu_us` is the processor time of the process under test for one answer.

    `parts_us` is that of every process, by name.
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


class Meter:
    """Measures targets of one rig."""

    def __init__(self, rig: Rig, seconds: float, folder: Path) -> None:
        self._rig = rig
        self._seconds = seconds
        self._wrk = shutil.which("wrk")
        self._topics = folder / "topics.txt"
        self._topics.write_text("\n".join(TOPICS) + "\n", encoding="utf-8")

    @property
    def client(self) -> str:
        """Who asks for whole answers; streams are always asked for by our own client."""
        return "wrk" if self._wrk else "benchmarks.load.client"

    def measure(self, target: Target, connections: int) -> Sample:
        """Return one sample. Raises RuntimeError where requests failed."""
        names = {**self._rig.pids, **({"under test": target.pid} if target.pid else {})}
        before = {name: cpu_s(pid) for name, pid in names.items()}
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
        )

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
