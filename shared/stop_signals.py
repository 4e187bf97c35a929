"""SIGTERM and SIGINT as an event: the first requests a clean stop, later ones are ignored."""

from __future__ import annotations

import asyncio
import contextlib
import signal

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def stop_event() -> asyncio.Event:
    """Return an event of the running loop that the first of these signals sets; call it from the main thread.

    Later ones are ignored to the last instruction of the process. Handlers of the loop would go with the loop: told
    a second time while its interpreter ended, a process that had done all its work was killed as if it had crashed.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def tell(_number: int, _frame: object) -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        with contextlib.suppress(RuntimeError):  # the loop is closed: on its way out already
            loop.call_soon_threadsafe(stop.set)

    for number in _SIGNALS:
        signal.signal(number, tell)
    return stop
