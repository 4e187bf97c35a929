"""Building the search graph in a process of its own: `python -m deploy.qdrant_engine.rebuild SHARD`."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

import qdrant_edge as edge

LEAST = 20_000
"""Points that are searched one by one at no noticeable cost: 1.4 ms at 20,000 of 256 dimensions."""
SHARE = 0.25
"""Share of the points that may have been written since the last rebuild before the next one."""

_PROJECT = Path(__file__).resolve().parents[2]


def due(*, points: int, drift: int) -> bool:
    """Whether `drift` points outside the graph, changed or deleted, are many for a collection of `points`."""
    return drift >= max(LEAST, SHARE * points)


async def build_graph(shard: Path) -> None:
    """Run the rebuild of `shard` and wait. Raises RuntimeError when it fails; a cancelled caller kills it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, str(shard), cwd=_PROJECT, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if code != 0:
        raise RuntimeError(f"the process that builds the search graph ended with {code}")


def _die_with_parent() -> None:
    """Ask Linux to kill this process when the engine dies; elsewhere it works on in a folder nobody will use."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def main(shard: str) -> None:
    """Load the shard, build, close."""
    _die_with_parent()
    os.nice(19)
    loaded = edge.EdgeShard.load(shard)
    loaded.optimize()
    loaded.close()


if __name__ == "__main__":
    main(sys.argv[1])
