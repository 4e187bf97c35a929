"""Rebuild of the search graph in a process of its own: `python -m deploy.qdrant_engine.rebuild SHARD`."""

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

PAUSE_FACTOR, LONGEST_PAUSE_S = 9.0, 60.0
"""Pause after a rebuild: a multiple of its duration, at most so many seconds, unless much is written meanwhile."""
MUCH, SHARE = 10_000, 0.25
"""Points, and share of all points, whose change or deletion starts a rebuild without that pause."""

_PROJECT = Path(__file__).resolve().parents[2]


def due(*, points: int, waiting: int, drift: int, least: int, pause_over: bool) -> bool:
    """Whether to rebuild: `waiting` points are not in the graph, `drift` were changed since the last rebuild.

    Each point outside of the graph costs each search 0.1 microseconds; the engine adds them to it from `least` on.
    """
    return (pause_over and waiting >= least) or drift >= max(least, MUCH, SHARE * points)


def pause_s(took_s: float) -> float:
    """Return the pause after a rebuild, which ends in a switch that blocks all requests."""
    return min(PAUSE_FACTOR * took_s, LONGEST_PAUSE_S)


async def build_graph(shard: Path) -> None:
    """Run the rebuild of `shard` and wait for it. Raises RuntimeError when it fails; cancellation kills the process."""
    process = subprocess.Popen(  # noqa: ASYNC220 - blocks no longer than asyncio's own
        [sys.executable, "-m", __name__, str(shard)], cwd=_PROJECT, stdin=subprocess.DEVNULL
    )
    lower_priority(process.pid)
    # On a thread: with the process in the idle class, Linux 6.18 was seen to spin in `wait4` for minutes on a busy
    # core, and asyncio's own child watcher would wait on the event loop.
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
    """Let Linux kill this process when the engine dies; elsewhere it goes on, in a folder without use."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def lower_priority(pid: int) -> None:
    """Give a process the lowest priority, but not the kernel's idle class: see `build_graph`."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, pid, 19)


def main(shard: str) -> None:
    """Build the graph of a shard, and leave its files in the page cache for the engine."""
    _die_with_parent()
    loaded = edge.EdgeShard.load(shard)
    loaded.optimize()
    loaded.close()
    files.warm(Path(shard))


if __name__ == "__main__":
    main(sys.argv[1])
