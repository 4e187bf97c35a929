"""Keeps a core busy at idle priority until killed: `python -m benchmarks.load.awake CORE`.

A core of a virtual machine that has nothing to do is taken away by the host; it comes back for the next request with
empty caches, and everything takes twice as long. This process runs in the kernel's idle class: whoever else wants the
core has it at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator

START_S = 0.3


@contextlib.contextmanager
def awake(cores: Iterable[int]) -> Iterator[None]:
    """Keep cores awake while the block runs."""
    started = [subprocess.Popen([sys.executable, "-m", __name__, str(core)]) for core in cores]
    try:
        time.sleep(START_S)
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def main(core: int) -> None:
    """Spin until the parent ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    os.sched_setaffinity(0, (core,))
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while True:
        pass


if __name__ == "__main__":
    main(int(sys.argv[1]))
