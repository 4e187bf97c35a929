"""Loops that repeat a step with a pause between; `shared/resilience/supervision.py` keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from shared.errors import RouterError
from shared.logs import get_logger
from shared.resilience.supervision import Pulse

_log = get_logger(__name__)


async def every(interval_s: float, step: Callable[[], Awaitable[None]], pulse: Pulse) -> None:
    """Run `step` for ever with a pause between; a failing step is logged when its kind of error changes."""
    last, name = "", pulse.name
    while True:
        pulse.begin()
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
        pulse.end()
        await asyncio.sleep(interval_s)
