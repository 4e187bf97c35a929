"""Tuning of the Python interpreter for a server: garbage collector, thread switches, memory.

All are settings of the whole process, so `prepare` is called once, by its main module.
"""

from __future__ import annotations

import ctypes
import gc
import sys

YOUNG = 10_000
"""New objects that make the garbage collector look. Python's 700 are what one request makes."""

SWITCH_S = 0.0005
"""A thread that computes hands the interpreter on after this. Python's 5 ms are what the event loop then waits behind
each read and write of a socket, twenty times in a row while a big body is parsed."""

M_MMAP_THRESHOLD = -3
MAPPED_BYTES = 131_072
"""Blocks from this size on are mapped by themselves, so that freeing one gives its memory back to the system. glibc
raises its own threshold to the largest block that was freed, up to 32 MiB: big bodies then left holes in the heap, and
a gateway kept what a burst of them had taken."""


def prepare() -> None:
    """Call once, when everything is imported: what is there by now the collector never looks at again.

    Looking at all of it took a twelfth of a gateway's time and half of a learner's, and each look was a pause for
    every open stream.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
    sys.setswitchinterval(SWITCH_S)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # there is none outside of glibc
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)
