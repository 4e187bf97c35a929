"""Stack whose parts can be damaged: each has its own disk and its own clock, and is reached through forwarders.

A disk is a small tmpfs with the data and the log of the part; filling it gives ENOSPC. A clock is libfaketime in the
part's process, which reads its offset from a file and leaves the monotonic clock alone. Neither needs root where user
namespaces are allowed: `private_namespace` is the command that gives the right to mount.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from deploy.local.plan import Part, Plan, Planner
from deploy.local.servers import free_port
from shared.errors import DependencyError

PARTS = ("gateway", "embedder", "learner", "redis", "qdrant", "postgres", "simulator")
STORES = {"redis": "redis", "qdrant": "qdrant", "postgres": "postgres", "gateway": "spool"}
"""Folder with the data of a part."""

DISK_MIB = {"qdrant": 512}
OTHER_DISK_MIB = 192
ADDRESSES = {
    "REDIS_URL": "redis",
    "QDRANT_URL": "qdrant",
    "EMBEDDER_URL": "embedder",
    "DATABASE_URL": "postgres",
    "OPENROUTER_BASE_URL": "simulator",
}
MNT_DETACH = 2
POSTGRES = """
import os, sys
from deploy.local.postgres import main
os.environ["LD_PRELOAD"] = sys.argv.pop(1)
sys.exit(main(sys.argv[1:]))
"""
"""Command of PostgreSQL that loads the library last: its shared memory belongs to the user who loads it, and as root
PostgreSQL changes the user first."""

CACHE_S = 1
"""Seconds after which a process reads the offset of its clock again."""


@dataclass(frozen=True, slots=True)
class Route:
    """Forwarder to plan: it listens on `port`, leads to `target`, and belongs to `parts`: a fault of one affects it."""

    port: int
    target: int
    parts: frozenset[str]


@dataclass
class BrokenWorld(Planner):
    """Planner of such a stack. After `plan`, `routes` are the forwarders that must run while the stack does."""

    routes: list[Route] = field(default_factory=list)

    def plan(self) -> Plan:
        """Plan as for the whole system, then put disks, clocks and forwarders between the parts."""
        data = self.folder / "data" / "simulated"
        data.mkdir(parents=True, exist_ok=True)
        for name, store in STORES.items():
            (data / store).symlink_to(self.disk(name) / "data")
        plan = super().plan()
        for part in plan.parts:
            part.server.log = self.disk(part.name) / "log"
            environment = dict(part.server.environment)
            if part.name in {"gateway", "learner"}:
                environment |= self._addresses(part, plan)
            part.server.environment = environment | self._clock(part)
        plan.gateway_url = self._through(plan.gateway_url, "gateway")
        return plan

    def disk(self, name: str) -> Path:
        """Return the folder of a part's disk."""
        return self.folder / "disks" / name

    def set_clock(self, name: str, offset_s: int) -> None:
        """Let the clock of a part differ from the real one, within CACHE_S."""
        (self.folder / "clocks" / name).write_text(f"{offset_s:+d}\n", encoding="ascii")

    def _clock(self, part: Part) -> dict[str, str]:
        """Give the part a clock; return what its environment needs for that."""
        library = clock_library()
        if library is None:
            return {}
        file = self.folder / "clocks" / part.name
        file.parent.mkdir(exist_ok=True)
        self.set_clock(part.name, 0)
        if part.name == "postgres":
            part.server.command = [sys.executable, "-c", POSTGRES, str(library), *part.server.command[3:]]
        else:
            part.server.command = ["env", f"LD_PRELOAD={library}", *part.server.command]
        return {
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": str(CACHE_S),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def _addresses(self, part: Part, plan: Plan) -> dict[str, str]:
        """Return the addresses of the servers that a part calls, through forwarders."""
        return {
            setting: self._through(plan.own[setting], target, *(["learner"] if part.name == "learner" else []))
            for setting, target in ADDRESSES.items()
        }

    def _through(self, url: str, *parts: str) -> str:
        target = urlsplit(url).port or 0
        self.routes.append(Route(free_port(), target, frozenset(parts)))
        return url.replace(f":{target}", f":{self.routes[-1].port}")


def clock_library() -> Path | None:
    """Return the library of the package libfaketime, or None."""
    found = importlib.util.find_spec("libfaketime")
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    return path if path.exists() else None


def private_namespace(command: Sequence[str]) -> list[str]:
    """Return a command that runs `command` with mounts of its own, as the same user."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
    return ["unshare", "--mount", *user, *command]


@contextlib.contextmanager
def disks(world: BrokenWorld) -> Iterator[None]:
    """Mount the disks of all parts. Raises DependencyError where that is not allowed."""
    _mount("/dev/shm", "mode=1777")  # noqa: S108 - what killed processes leave in shared memory goes with the namespace
    for name in PARTS:
        folder = world.disk(name)
        folder.mkdir(parents=True)
        _mount(str(folder), f"size={DISK_MIB.get(name, OTHER_DISK_MIB)}m")
        (folder / "data").mkdir()
    try:
        yield
    finally:
        for name in PARTS:
            _libc().umount2(os.fsencode(world.disk(name)), MNT_DETACH)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _mount(path: str, options: str) -> None:
    if _libc().mount(b"tmpfs", path.encode(), b"tmpfs", 0, options.encode()) != 0:
        raise DependencyError("mount", f"a tmpfs cannot be mounted: {os.strerror(ctypes.get_errno())}")


def fill(disk: Path) -> Path:
    """Fill a disk to the last byte; return the file to remove."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        for chunk in (bytes(1 << 20), bytes(4096)):
            with contextlib.suppress(OSError):
                while True:
                    file.write(chunk)
    return filler
