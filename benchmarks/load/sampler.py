"""Sampling profiler of the gateway: records the stack every millisecond of processor time.

`python -m benchmarks.load.sampler FILE` is `python -m services.gateway`, and writes the stacks as JSON (`{"a;b;c":
samples}`) when it ends. SIGUSR1 forgets what came before it. Sampling costs some 2 %; unlike cProfile it does not make
small functions look dear.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

from services.gateway.__main__ import main

INTERVAL_S = 0.001


def sample(stacks: Counter[tuple[object, ...]], frame: FrameType | None) -> None:
    """Record one stack, innermost frame first."""
    codes = []
    while frame is not None:
        codes.append(frame.f_code)
        frame = frame.f_back
    stacks[tuple(codes)] += 1


def readable(stacks: Counter[tuple[object, ...]]) -> dict[str, int]:
    """Return the stacks as texts, outermost frame first."""
    return {";".join(_name(code) for code in reversed(stack)): times for stack, times in stacks.items()}


def _name(code: object) -> str:
    path, name = str(getattr(code, "co_filename", "")), str(getattr(code, "co_qualname", ""))
    short = path.rpartition("site-packages/")[2]
    for root in ("/services/", "/shared/", "/benchmarks/"):
        if root in short:
            short = root[1:] + short.rpartition(root)[2]
    return f"{short}:{name}"


if __name__ == "__main__":
    target, found = Path(sys.argv.pop(1)), Counter[tuple[object, ...]]()
    signal.signal(signal.SIGPROF, lambda _number, frame: sample(found, frame))
    signal.signal(signal.SIGUSR1, lambda _number, _frame: found.clear())
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)
    code = main()
    signal.setitimer(signal.ITIMER_PROF, 0)
    target.write_text(json.dumps(readable(found)), encoding="utf-8")
    sys.exit(code)
