"""Faults of one part of a stack: each begins, lasts for a time, and ends. None needs root."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from benchmarks.load.processes import tree
from benchmarks.soaking.broken_world import BrokenWorld, Route, fill
from benchmarks.soaking.forwarder import Forwarder
from deploy.local.stack import Stack

SLOW_S = 0.2
JUMP_S = 3600


@dataclass(frozen=True)
class Site:
    """A running stack with its forwarders."""

    stack: Stack
    world: BrokenWorld
    forwarders: Mapping[Route, Forwarder]

    def forwarders_of(self, part: str) -> list[Forwarder]:
        """Return the forwarders on the connections of a part."""
        return [forwarder for route, forwarder in self.forwarders.items() if part in route.parts]


@asynccontextmanager
async def kill(site: Site, part: str) -> AsyncIterator[None]:
    """Send SIGKILL; the supervisor starts the part again."""
    _signal([site.stack.pids()[part]], signal.SIGKILL)
    yield


@asynccontextmanager
async def stop(site: Site, part: str) -> AsyncIterator[None]:
    """Stop the part's processes by SIGSTOP; let them go on at the end."""
    pids = tree(site.stack.pids()[part])
    _signal(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(pids, signal.SIGCONT)


@asynccontextmanager
async def slow(site: Site, part: str) -> AsyncIterator[None]:
    """Make every answer come SLOW_S later."""
    for forwarder in site.forwarders_of(part):
        forwarder.delay_s = SLOW_S
    try:
        yield
    finally:
        for forwarder in site.forwarders_of(part):
            forwarder.delay_s = 0.0


@asynccontextmanager
async def half_open(site: Site, part: str) -> AsyncIterator[None]:
    """Let all open connections fall silent for good, without a FIN or RST; new ones work."""
    for forwarder in site.forwarders_of(part):
        forwarder.freeze()
    yield


@asynccontextmanager
async def full_disk(site: Site, part: str) -> AsyncIterator[None]:
    """Fill the disk with the part's data and log."""
    filler = await asyncio.to_thread(fill, site.world.disk(part))
    try:
        yield
    finally:
        filler.unlink()


@asynccontextmanager
async def clock_jump(site: Site, part: str) -> AsyncIterator[None]:
    """Let the wall clock jump ahead by JUMP_S, and back at the end."""
    site.world.set_clock(part, JUMP_S)
    try:
        yield
    finally:
        site.world.set_clock(part, 0)


Fault = Callable[[Site, str], AbstractAsyncContextManager[None]]
FAULTS: Mapping[str, Fault] = {
    "kill": kill,
    "stop": stop,
    "slow": slow,
    "half-open": half_open,
    "disk": full_disk,
    "clock": clock_jump,
}


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
