"""Command `make scale`: cost of a request in every process, for one gateway and for several, and what follows from it.

It sends chat requests with unique prompts as fast as the stack answers them, then rates a tenth of them. Cost is
processor time, bytes and commands, not time on the clock. The table of larger rates is an extrapolation: cost of a
request times rate.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from redis import Redis

from benchmarks.load.processes import cpu_model, cpu_s
from benchmarks.load.rig import server
from benchmarks.load.upstream import MODELS
from deploy.local.plan import ROOT, Planner
from deploy.local.servers import free_port
from deploy.local.stack import Stack
from shared.settings import Settings
from shared.storage import redis_keys

CONNECTIONS = 16
RATED = 10
"""One answer in so many is rated."""

WARM_UP = 300
RATES = (100, 1_000, 10_000)
DAY_S = 86_400
KEPT_DAYS = 14
"""Time that Redis keeps a request, by the default of FEEDBACK_WINDOW_HOURS."""

BUSY = 0.8
"""Share of a core up to which a server with one thread is used."""

SETTLE_S = 120.0
PARTS = ("gateway", "embedder", "learner", "redis", "qdrant", "postgres")


@dataclass(frozen=True)
class Sample:
    """Totals so far: processor seconds by part, and counters of Redis and PostgreSQL."""

    cpu_s: Mapping[str, float]
    counts: Mapping[str, float]

    def since(self, before: Sample, requests: int) -> Sample:
        """Return the difference by request, in microseconds and units."""
        cpu = {name: 1e6 * (seconds - before.cpu_s[name]) / requests for name, seconds in self.cpu_s.items()}
        return Sample(cpu, {name: (count - before.counts[name]) / requests for name, count in self.counts.items()})


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description="Cost of a request, and of many.")
    parser.add_argument("--gateways", type=int, nargs="+", default=[1, 2], help="numbers of gateways to measure")
    parser.add_argument("--requests", type=int, default=5000)
    options = parser.parse_args()
    print(f"{cpu_model()}, {os.cpu_count()} cores; {options.requests} requests with unique prompts by {CONNECTIONS} "
          f"connections, one in {RATED} rated, history in PostgreSQL, upstream that answers immediately\n")  # fmt: skip
    costs = {}
    print("| gateways | answers/s | load average | " + " | ".join(f"{name}, us" for name in PARTS) + " |")
    print("|---" * (len(PARTS) + 3) + "|")
    for number in options.gateways:
        per_second, costs[number] = _measure(number, options.requests)
        cells = " | ".join(f"{costs[number].cpu_s[name]:.0f}" for name in PARTS)
        print(f"| {number} | {per_second:.0f} | {os.getloadavg()[0]:.1f} | {cells} |", flush=True)
    _print_model(costs[options.gateways[0]])
    return 0


def _measure(gateways: int, requests: int) -> tuple[float, Sample]:
    """Run a stack; return answers a second and the cost of a request."""
    with tempfile.TemporaryDirectory(prefix="llm-router-scale-", ignore_cleanup_errors=True) as name:
        folder, port = Path(name), free_port()
        folder.chmod(0o755)  # PostgreSQL may run as another user
        with server("upstream", folder, port):
            settings = Settings.model_validate({
                "HOST": "127.0.0.1", "OPENROUTER_BASE_URL": f"http://127.0.0.1:{port}/v1",
                "OPENROUTER_API_KEY": "bench", "LLM_MODELS": MODELS, "DEFAULT_MODEL": MODELS[0], "FEEDBACK_RPM": 0,
                "ENABLE_PERSISTENCE": True, "REQUESTS_LISTED": 1 + requests // RATED,
            })  # fmt: skip
            planner = Planner(settings, folder, ROOT / ".local" / "models", anywhere=True, gateways=gateways)
            with Stack(planner) as stack:
                stack.start()
                _ask(stack, WARM_UP, start=0)
                before = _sample(stack)
                report = _ask(stack, requests, start=WARM_UP * 10)
                _rate(stack, requests // RATED)
                return report["per_second"], _sample(stack).since(before, requests)


def _ask(stack: Stack, answers: int, *, start: int) -> dict[str, float]:
    url = f"{stack.plan.gateway_url}/v1/chat/completions"
    command = [sys.executable, "-m", "benchmarks.load.client", url, "--connections", str(CONNECTIONS)]
    command += ["--answers", str(answers), "--start", str(start)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if report["failed"] > answers / 100:
        raise RuntimeError(f"{report['failed']} of {answers} requests failed")
    return report


def _rate(stack: Stack, number: int) -> None:
    """Rate the latest answers."""
    client: Any
    with Redis.from_url(stack.plan.redis_url) as client:
        own_ids = [own_id.decode() for own_id in client.zrange(redis_keys.LISTED, -number, -1)]
    for at, own_id in enumerate(own_ids):
        body = json.dumps({"request_id": own_id, "score": at % 11 / 10}).encode()
        request = urllib.request.Request(  # noqa: S310 - our own address
            f"{stack.plan.gateway_url}/feedback", body, {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=30).close()  # noqa: S310


def _sample(stack: Stack) -> Sample:
    """Take a sample when nothing is left to learn, to index or to write."""
    client: Any
    with Redis.from_url(stack.plan.redis_url) as client:
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline and (
            client.xlen(redis_keys.EVENTS) or client.xlen(redis_keys.HISTORY) or client.zcard(redis_keys.UNINDEXED)
        ):
            time.sleep(0.2)
        found = client.info()
    counts = {
        "memory": found["used_memory_dataset"],
        "commands": found["total_commands_processed"],
        "network": found["total_net_input_bytes"] + found["total_net_output_bytes"],
        "file": found["aof_current_size"],
    }
    with psycopg.connect(stack.plan.own["DATABASE_URL"]) as database:
        sizes = "SELECT pg_database_size(current_database()), pg_current_wal_lsn() - '0/0'::pg_lsn"
        counts["tables"], counts["wal"] = map(float, database.execute(sizes).fetchone() or (0, 0))
    cpu = dict.fromkeys(PARTS, 0.0)
    for name, pid in stack.pids().items():
        cpu[name.partition("-")[0]] = cpu.get(name.partition("-")[0], 0.0) + cpu_s(pid)
    return Sample(cpu, counts)


def _print_model(cost: Sample) -> None:
    """Print what the cost of a request means at larger rates."""
    cpu, counts = cost.cpu_s, cost.counts
    print(
        f"\nA request costs Redis {counts['commands']:.0f} commands, {counts['network'] / 1e3:.1f} KB of network, "
        f"{counts['memory'] / 1e3:.1f} KB of memory and {counts['file'] / 1e3:.1f} KB of its file; PostgreSQL "
        f"{counts['tables'] / 1e3:.1f} KB of tables and {counts['wal'] / 1e3:.1f} KB of log.\n"
    )
    print("| requests/s | " + " | ".join(f"{rate:,}" for rate in RATES) + " |\n|---" + "|---" * len(RATES) + "|")
    rows = {f"{name}, cores": [cpu[name] * rate / 1e6 for rate in RATES] for name in PARTS}
    rows |= {
        "Redis, network MB/s": [counts["network"] * rate / 1e6 for rate in RATES],
        f"Redis, memory of {KEPT_DAYS} days, GB": [counts["memory"] * rate * DAY_S * KEPT_DAYS / 1e9 for rate in RATES],
        "Redis, memory of 1 day, GB": [counts["memory"] * rate * DAY_S / 1e9 for rate in RATES],
        "PostgreSQL, tables GB a day": [counts["tables"] * rate * DAY_S / 1e9 for rate in RATES],
        "PostgreSQL, log MB/s": [counts["wal"] * rate / 1e6 for rate in RATES],
    }
    for name, values in rows.items():
        print(
            f"| {name} | " + " | ".join(f"{value:,.2g}" if value < 10 else f"{value:,.0f}" for value in values) + " |"
        )
    print(
        f"\nOne Redis (one thread, {BUSY:.0%} of a core) carries {1e6 * BUSY / cpu['redis']:,.0f} requests/s; "
        f"one gateway {1e6 * BUSY / cpu['gateway']:,.0f}, one learner {1e6 * BUSY / cpu['learner']:,.0f}."
    )


if __name__ == "__main__":
    sys.exit(main())
