"""Monitor of memory, file descriptors and threads of the parts (from /proc), and the kills of `--kill`."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.stack import Stack

STORES = frozenset({"redis", "qdrant"})
"""Their memory grows with the data; it is shown, and not checked."""

VICTIMS = ("embedder", "qdrant", "redis", "learner")
EVERY_S = 1.0
POLL_S = 0.1
WARM_S = 60.0
GROWTH = 1.1
SLACK_FDS = 20
SLACK_THREADS = 4


@dataclass(frozen=True, slots=True)
class Sample:
    """Resources of one process."""

    rss_kib: int
    fds: int
    threads: int


def sample(pid: int) -> Sample | None:
    """Read one process; None when it has ended."""
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        fds = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - only names are needed
        return Sample(int(status["VmRSS"].split()[0]), fds, int(status["Threads"]))
    except (OSError, KeyError):
        return None


def _most(before: Sample, now: Sample) -> Sample:
    """Return the later memory, and the larger numbers of descriptors and threads."""
    return Sample(now.rss_kib, max(before.fds, now.fds), max(before.threads, now.threads))


async def supervise(stack: Stack) -> None:
    """Let the stack start parts again that end, until cancelled."""
    while True:
        await asyncio.to_thread(stack.poll)
        await asyncio.sleep(POLL_S)


class Watcher:
    """Samples of each part: at the end of the first minute, and the last one."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.first: dict[str, Sample] = {}
        self.last: dict[str, Sample] = {}
        self.restarted: set[str] = set()
        self.kills = 0

    async def follow(self, until_s: float) -> None:
        """Sample every second; the first minute, or half of a shorter run, is warm-up."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        warm_s = min(WARM_S, until_s / 2)
        while True:
            samples = {name: found for name, pid in self._stack.pids().items() if (found := sample(pid))}
            if loop.time() - began < warm_s:
                self.first = {name: _most(self.first.get(name, now), now) for name, now in samples.items()}
            self.last = samples
            await asyncio.sleep(EVERY_S)

    async def kill(self, pause_s: float) -> None:
        """Kill one dependency after the other with SIGKILL; the supervisor starts it again."""
        while True:
            name = VICTIMS[self.kills % len(VICTIMS)]
            await asyncio.sleep(pause_s)
            os.kill(self._stack.pids()[name], signal.SIGKILL)
            self.kills += 1
            self.restarted.add(name)

    def ended(self) -> int:
        """Return how often parts have ended that were not killed here."""
        return sum(one.count + (one.due is not None) for one in self._stack.restarts.values()) - self.kills

    def judged(self) -> Mapping[str, tuple[Sample, Sample, bool]]:
        """Return for each part: resources after the first minute, at the end, and whether they stayed constant."""
        return {
            name: (first, self.last[name], self._flat(name, first, self.last[name]))
            for name, first in self.first.items()
            if name in self.last
        }

    def most_grown(self) -> str:
        """Return the checked part whose memory has grown most since the first minute."""
        kept = {name for name in self.first if name in self.last} - STORES - self.restarted
        ratios = {name: self.last[name].rss_kib / self.first[name].rss_kib for name in kept}
        name = max(ratios, key=lambda part: ratios[part], default="")
        return f"{name}, {ratios[name]:.2f} times the memory after the first minute" if name else "none"

    def _flat(self, name: str, first: Sample, last: Sample) -> bool:
        if name in STORES or name in self.restarted:
            return True
        flat = last.fds <= first.fds + SLACK_FDS and last.threads <= first.threads + SLACK_THREADS
        return flat and last.rss_kib <= GROWTH * first.rss_kib
