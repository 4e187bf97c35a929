"""Building the search graph in a process of its own: `python -m deploy.qdrant_engine.rebuild SHARD`."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

import qdrant_edge as edge

from deploy.qdrant_engine import files

REST, MOST_REST_S = 9.0, 60.0
"""After a rebuild comes a rest of so many times what it took, at most so long, unless much is written meanwhile."""
MUCH, SHARE = 10_000, 0.25
"""Points, and share of the points, that are changed or deleted at most before a rebuild that does not wait for that."""

_PROJECT = Path(__file__).resolve().parents[2]


def due(*, points: int, waiting: int, drift: int, least: int, rested: bool) -> bool:
    """Whether to rebuild: `waiting` points are outside the graph, `drift` were written or deleted since the last time.

    Every point outside costs every search 0.1 microseconds; from `least` on the engine takes them into the graph.
    """
    return (rested and waiting >= least) or drift >= max(least, MUCH, SHARE * points)


def rest_s(took_s: float) -> float:
    """Return how long to rest after a rebuild. Each ends in a switch, during which nobody is answered."""
    return min(REST * took_s, MOST_REST_S)


async def build_graph(shard: Path) -> None:
    """Run the rebuild of `shard` and wait. Raises RuntimeError when it fails; a cancelled caller kills it."""
    process = subprocess.Popen(  # noqa: ASYNC220 - as long as by the event loop's own way
        [sys.executable, "-m", __name__, str(shard)], cwd=_PROJECT, stdin=subprocess.DEVNULL
    )
    step_back(process.pid)
    # By a thread: where the process was in the idle class, Linux 6.18 was seen to spin in `wait4` for minutes, clearing
    # its /proc, on a core that others kept busy; and the event loop's own way waits on the loop.
    ended = asyncio.ensure_future(asyncio.to_thread(process.wait))
    try:
        code = await asyncio.shield(ended)
    except asyncio.CancelledError:
        process.kill()
        await ended
        raise
    if code != 0:
        raise RuntimeError(f"the process that builds the search graph ended with {code}")


def _die_with_parent() -> None:
    """Ask Linux to kill this process when the engine dies; elsewhere it works on in a folder nobody will use."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def step_back(pid: int) -> None:
    """Let a process have little beside anybody else. Not the kernel's idle class, see `build_graph`."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, pid, 19)


def main(shard: str) -> None:
    """Load the shard, build, close; and leave its files in memory for whoever searches it."""
    _die_with_parent()
    loaded = edge.EdgeShard.load(shard)
    loaded.optimize()
    loaded.close()
    files.warm(Path(shard))


if __name__ == "__main__":
    main(sys.argv[1])
