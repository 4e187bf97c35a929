"""Progress of a command on standard error: a bar on a terminal, else a line per 10 %."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

BAR_WIDTH = 40


def progress_bar(title: str) -> Callable[[int, int], None]:
    """Return a callback that shows progress; it takes the number done and the total."""
    as_bar = sys.stderr.isatty() or "PROGRESS_BAR" in os.environ
    last = -1

    def show(done: int, total: int) -> None:
        nonlocal last
        share = done / total if total else 1.0
        step = int(share * (100 if as_bar else 10))
        if step == last and done < total:
            return
        last, finished = step, done >= total
        figures = f"{int(100 * share):3} % {done:,} of {total:,}"
        if as_bar:
            filled = int(BAR_WIDTH * share)
            bar = "#" * filled + "." * (BAR_WIDTH - filled)
            sys.stderr.write(f"\r{title} [{bar}] {figures}" + ("\n" if finished else ""))
        else:
            sys.stderr.write(f"{title}: {figures}\n")
        sys.stderr.flush()

    return show
