"""A stack whose parts are Python one-liners, for tests of the supervisor."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.plan import Part, Plan, Planner
from deploy.local.servers import Server
from shared.settings import load_settings

SLEEPER = "import time, sys; print('{name} is up', flush=True); time.sleep(60)"


@dataclass
class Scripted(Planner):
    """Parts that are Python one-liners; ready as soon as they have logged something, or as told."""

    scripts: dict[str, str] = field(default_factory=dict)
    after: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ready: Callable[[str], bool] | None = None

    def plan(self) -> Plan:
        return Plan([self._part(number, name) for number, name in enumerate(self.scripts)])

    def _part(self, number: int, name: str) -> Part:
        log = self.folder / f"{name}.log"

        def ready() -> bool:
            return self.ready(name) if self.ready else log.exists() and log.stat().st_size > 0

        server = Server(name, [sys.executable, "-c", self.scripts[name]], log)
        return Part(server, "", ready, self.after.get(name, ()), stop_order=number, stop_timeout_s=5.0)


def scripted(folder: Path, **scripts: str) -> Scripted:
    return Scripted(load_settings({}, None), folder, folder / "models", scripts=scripts)


def lives(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def wait_until(true: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
