"""Command `make chaos-test`: `kill -9` of each container in turn under load; shows what clients saw and audits losses.

An answer is acknowledged when a client got all of it (200), a rating when it was accepted (202). At the end every
acknowledged answer must be recorded and every acknowledged rating learned, exactly once (`audit.py`).
`python -m deploy.chaos_test [--no-build] [container ...]` kills only the named containers. A container is killed from
the host, so that the engine restarts it as after a crash. Standard library only.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
import urllib.error
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException
from threading import Lock

from deploy.audit import audit, rows
from deploy.compose_trial import BUSY, START_S, Broken, Compose, chat, healthy, on_trial, rate, until

RATE = float(os.environ.get("RATE", "50"))
BEFORE_S, AFTER_S = 4.0, 16.0
VICTIMS = ("llm-proxy", "gateway", "embedder", "learner", "redis", "qdrant", "postgres")
HEAD = (
    "killed",
    "sent",
    "200",
    "degraded",
    "overload",
    "5xx",
    "no reply",
    "ratings",
    "unrated",
    "longest gap",
    "p99",
    "healthy after",
)


@dataclass
class Seen:
    """Result of one request, as its client saw it."""

    name: str
    began: float
    ended: float = 0.0
    status: int = 0
    degraded: bool = False
    rated: int | None = None


@dataclass
class Load:
    """Load generator: requests at a constant rate, each on a new connection; every second answer is rated."""

    compose: Compose
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(256))
    seen: list[Seen] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def run(self, seconds: float) -> None:
        """Send for `seconds`, without waiting for answers."""
        began, sent = time.monotonic(), 0
        while time.monotonic() < began + seconds:
            while sent < (time.monotonic() - began) * RATE:
                self.pool.submit(self._one, len(self.seen) + sent)
                sent += 1
            time.sleep(0.005)

    def _one(self, number: int) -> None:
        seen = Seen(f"chaos-{number}-{os.urandom(4).hex()}", time.monotonic())
        try:
            seen.status, _, headers = chat(self.compose, seen.name)
            seen.degraded = any(name.lower() == "x-router-degraded" for name in headers)
        except (OSError, HTTPException, urllib.error.URLError, ValueError):
            seen.status = 0
        seen.ended = time.monotonic()
        if seen.status == 200 and number % 2:
            try:
                seen.rated = rate(self.compose, seen.name, 0.5)[0]
            except (OSError, HTTPException, urllib.error.URLError, ValueError):
                seen.rated = 0
        with self.lock:
            self.seen.append(seen)


def main() -> int:
    """Run the trial; return the exit code, 0 when nothing acknowledged was lost, or without a Docker engine."""
    return on_trial({"COMPOSE_SIMULATOR_FAILURES": "0", "COMPOSE_SIMULATOR_SPEED": "5"}, trial)


def trial(compose: Compose) -> bool:
    """Start, load, kill the containers in turn; return whether the audit found no difference."""
    if "--no-build" not in sys.argv:
        compose("build", quiet=True)
    compose("up", "-d", "--scale", "gateway=2", "--scale", "learner=2", quiet=True)
    until(START_S, "all parts are healthy", lambda: healthy(compose))
    until(START_S, "PostgreSQL answers", lambda: bool(rows(compose, "SELECT 'yes'")))
    until(START_S, "two learners are alive", lambda: "2 alive" in str(compose.call("GET", "/health")[1]))
    load = Load(compose)
    print(f"{RATE:.0f} requests/s, two gateways, two learners; each row covers {AFTER_S:.0f} s from the kill\n")
    print(_row(HEAD), flush=True)
    for victim in (None, *([name for name in VICTIMS if name in sys.argv] or VICTIMS)):
        print(_row(_turn(compose, load, victim)), flush=True)
    load.pool.shutdown(wait=True)
    answered = {one.name for one in load.seen if one.status == 200}
    rated = {one.name for one in load.seen if one.rated == 202}
    return audit(compose, [one.name for one in load.seen], answered, rated)


def _turn(compose: Compose, load: Load, victim: str | None) -> Sequence[str]:
    """Kill one container (None: baseline) under load, wait until all parts are healthy; return a row of the table."""
    load.run(BEFORE_S)
    began = time.monotonic()
    # Concurrently with the load: requests in flight at that moment matter.
    killing = None if victim is None else load.pool.submit(kill, compose, victim)
    load.run(AFTER_S)
    if killing is not None:
        killing.result()
    until(START_S, f"all parts are healthy after {victim}", lambda: healthy(compose))
    healthy_s = time.monotonic() - began
    time.sleep(1)
    with load.lock:
        window = [seen for seen in load.seen if began <= seen.ended and seen.began <= began + AFTER_S]
    good = [seen for seen in window if seen.status == 200]
    ends = sorted([began, *(seen.ended for seen in good)])
    gap_s = max((later - earlier for earlier, later in itertools.pairwise(ends)), default=0.0)
    times = sorted(seen.ended - seen.began for seen in good)
    return (
        victim or "(none)",
        str(len(window)),
        str(len(good)),
        str(sum(seen.degraded for seen in good)),
        str(sum(seen.status == BUSY for seen in window)),
        str(sum(seen.status >= 500 and seen.status != BUSY for seen in window)),
        str(sum(seen.status == 0 for seen in window)),
        str(sum(seen.rated == 202 for seen in window)),
        str(sum(seen.rated not in (202, None) for seen in window)),
        f"{gap_s:.2f} s",
        f"{times[int(0.99 * len(times))]:.2f} s" if times else "-",
        f"<{healthy_s:.0f} s" if victim else "-",
    )


def kill(compose: Compose, service: str) -> None:
    """Send SIGKILL to a container's first process. After `docker kill` the engine would not restart it."""
    name = compose("ps", "-q", service, quiet=True).split()[0]
    pid = subprocess.run(
        ["docker", "inspect", "-f", "{{.State.Pid}}", name], capture_output=True, text=True, check=True
    ).stdout.strip()
    if pid == "0":
        raise Broken(f"{service} is not running: {compose('logs', '--tail', '5', service, quiet=True)}")
    command = ["docker", "run", "--rm", "--pid=host", "--network=none", "--user=0", "--entrypoint=python", "llm-router"]
    subprocess.run([*command, "-c", f"import os; os.kill({int(pid)}, 9)"], check=True, capture_output=True)


def _row(cells: Sequence[str]) -> str:
    widths = (11, *([9] * 8), 12, 8, 14)
    return "".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))


if __name__ == "__main__":
    sys.exit(main())
