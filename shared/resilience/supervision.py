"""Supervision of background loops: restarts a loop that ends; one that keeps failing ends the process.

A background loop catches the errors of its steps. If it ends nevertheless (a cancellation from below, a fault in the
loop itself), requests would go on without it, and records would wait or beliefs grow old unnoticed. So a supervisor
restarts each loop after a pause, counts the restarts, and shows them in `/health`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Counter

from shared.logs import get_logger

FIRST_REST_S = 0.1
LONGEST_REST_S = 5.0
STABLE_S = 30.0
"""After running this long a loop counts as healthy: earlier failures are forgotten."""

MOST_FAILURES = 10
WINDOW_S = 60.0
"""After that many failures in a row within this time the loop is given up."""

TRIES = 4
"""Attempts of a finite task."""

HUNG_S = 60.0
"""A longer step is reported as hung: every step has shorter deadlines."""

RECENT_S = 60.0
"""Time after a restart for which the loop is reported as degraded."""

_log = get_logger(__name__)


@dataclass(slots=True, eq=False)
class Pulse:
    """Liveness of one loop, which calls `begin` and `end` around each step."""

    name: str = ""
    restarts: int = 0
    error: str | None = None
    failed_at: float = float("-inf")
    began: float | None = None
    ended: float | None = None
    failures: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_FAILURES))

    def begin(self) -> None:
        """Mark the start of a step."""
        self.began = time.monotonic()

    def end(self) -> None:
        """Mark the end of a step, successful or not."""
        self.began, self.ended = None, time.monotonic()

    def view(self) -> dict[str, Any]:
        """Return what `/health` shows."""
        now = time.monotonic()
        return {
            "restarts": self.restarts,
            "error": self.error,
            "last_step_s_ago": None if self.ended is None else round(now - self.ended, 1),
            "step_takes_s": None if self.began is None else round(now - self.began, 1),
        }

    @property
    def trouble(self) -> str | None:
        """What is wrong with the loop now, or None."""
        now = time.monotonic()
        if self.began is not None and now - self.began > HUNG_S:
            return f"{self.name} hangs for {now - self.began:.0f} s"
        if now - self.failed_at < RECENT_S:
            return f"{self.name} was restarted, {self.restarts} times in all ({self.error})"
        return None


Loop = Callable[[Pulse], Coroutine[Any, Any, None]]


class Supervisor:
    """Supervisor of the loops of a process.

    Attributes:
        pulses: liveness by name of the loop.
        broken: the loop that was given up and why, or None.
        on_broken: called once when that happens; it should end the process.
    """

    def __init__(self, restarts: Counter) -> None:
        self.pulses: dict[str, Pulse] = {}
        self.broken: str | None = None
        self.on_broken: Callable[[], None] = lambda: None
        self._restarts = restarts
        self._stopping = False

    def pulse(self, name: str) -> Pulse:
        """Return the liveness of a loop; the first call adds it."""
        if name not in self.pulses:
            self.pulses[name] = Pulse(name)
            self._restarts.labels(name)  # exists at 0 from the start
        return self.pulses[name]

    def trouble(self) -> list[str]:
        """Return a sentence for each loop in trouble."""
        if self.broken is not None:
            return [f"{self.broken} cannot be kept: the process ends"]
        return [trouble for pulse in self.pulses.values() if (trouble := pulse.trouble)]

    @contextlib.asynccontextmanager
    async def running(self, loops: Mapping[str, Loop]) -> AsyncIterator[None]:
        """Run loops under supervision; cancel and await them on exit."""
        async with running([self.keep(name, loop) for name, loop in loops.items()]):
            try:
                yield
            finally:
                self._stopping = True

    def spawn(self, name: str, make: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Start a finite task; it is retried a few times if it fails."""
        return asyncio.create_task(self._tried(name, make), name=name)

    async def _tried(self, name: str, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        for attempt in range(TRIES):
            try:
                await make()
            except Exception as error:  # noqa: BLE001 - the edge of the task
                self.count(name, error)
                _log.error("background task failed", task=name, attempt=attempt + 1, exc_info=error)
                await asyncio.sleep(FIRST_REST_S * 2**attempt)
            else:
                return

    async def keep(self, name: str, loop: Loop) -> None:
        """Run a loop again and again until cancelled; return where it cannot be kept."""
        pulse, rest_s = self.pulse(name), FIRST_REST_S
        while True:
            began = time.monotonic()
            failure: BaseException | None = None
            try:
                await loop(pulse)
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if self._stopping or (task is not None and task.cancelling()):
                    raise
                failure = error  # something below was cancelled, not this loop
            except Exception as error:  # noqa: BLE001 - the edge of the loop
                failure = error
            pulse.end()
            if time.monotonic() - began > STABLE_S:
                rest_s = FIRST_REST_S
                pulse.failures.clear()
            self.failed(name, failure)
            if self.broken is not None:
                return
            await asyncio.sleep(rest_s)
            rest_s = min(2 * rest_s, LONGEST_REST_S)

    def count(self, name: str, error: BaseException | None) -> Pulse:
        """Count the end of a loop or task."""
        pulse = self.pulse(name)
        pulse.restarts += 1
        pulse.failed_at = time.monotonic()
        pulse.error = "ended" if error is None else type(error).__name__
        self._restarts.labels(name).inc()
        return pulse

    def failed(self, name: str, error: BaseException | None) -> None:
        """Count and log a loop that has ended; after too many in a row it is `broken`."""
        pulse, now = self.count(name, error), time.monotonic()
        _log.error("background loop ended, starting again", loop=name, error=pulse.error, exc_info=error)
        pulse.failures.append(now)
        if len(pulse.failures) == MOST_FAILURES and now - pulse.failures[0] < WINDOW_S and self.broken is None:
            self.broken = f"{name} ({pulse.error})"
            _log.critical("background loop cannot be kept, the process ends", loop=name, error=pulse.error)
            self.on_broken()


@contextlib.asynccontextmanager
async def running(loops: list[Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run coroutines as tasks; cancel and await them on exit."""
    tasks = {asyncio.create_task(loop) for loop in loops}
    try:
        yield
    finally:
        while tasks:
            # Once is not enough: `asyncio.wait_for` of Python 3.11, which redis-py sends through, may swallow it.
            for task in tasks:
                task.cancel()
            _, tasks = await asyncio.wait(tasks, timeout=0.1)
