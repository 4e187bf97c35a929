"""Loops beside the requests: they never end by an error, and they end at once when cancelled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any

from shared.errors import RouterError
from shared.logs import get_logger

_log = get_logger(__name__)


async def every(name: str, interval_s: float, step: Callable[[], Awaitable[None]]) -> None:
    """Run `step` for ever with a pause between; a failing step is logged when its kind of error changes."""
    last = ""
    while True:
        try:
            await step()
            if last:
                _log.info("recovered", loop=name)
            last = ""
        except (RouterError, TimeoutError) as error:
            # A dependency that is away for an hour is one line, not 7,200.
            if type(error).__name__ != last:
                _log.warning("background step failed", loop=name, error=type(error).__name__, detail=str(error)[:300])
            last = type(error).__name__
        except Exception:  # noqa: BLE001 - the edge: whatever a step does, the loop goes on and says so
            _log.exception("background step broke", loop=name)
            last = "broken"
        await asyncio.sleep(interval_s)


@contextlib.asynccontextmanager
async def running(loops: Sequence[Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run loops as tasks; cancel them and wait for their end on the way out."""
    tasks = {asyncio.create_task(loop) for loop in loops}
    try:
        yield
    finally:
        while tasks:
            # Once is not enough: `asyncio.wait_for` of Python 3.11, which redis-py sends through, may swallow it.
            for task in tasks:
                task.cancel()
            _, tasks = await asyncio.wait(tasks, timeout=0.1)
