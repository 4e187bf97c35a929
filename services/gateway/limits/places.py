"""Places for concurrent work, with a short queue in order of arrival.

A request that finds no place waits a moment for one, and only where places have been coming free: a queue that does not
move would only delay refusals.
"""

from __future__ import annotations

import asyncio
from collections import deque

from shared.errors import Unavailable
from shared.metrics import GatewayMetrics
from shared.ports import Clock

QUEUE_S = 0.1
RETRY_AFTER_S = 1.0

BURST, BURST_S = 256, 1.0
"""Places with a pace do come free, so many requests may wait at first, and each of them for so long: many clients start
at the same time. When there has been a queue for that long, it is no burst."""

MOST_FREED = 4096
"""Bound on the remembered times at which places came free."""


class Places:
    """Places: `least` of them, or with a pace as many as come free in `pace_s`, whichever is more.

    By Little's law, work that fills its places takes `pace_s` then. So the number of places grows while the work takes
    less, and shrinks while it takes more: under overload it is what can be done in that time.

    Attributes:
        taken: number of places that are taken.
    """

    def __init__(self, least: int, message: str, *, clock: Clock, metrics: GatewayMetrics, pace_s: float = 0.0) -> None:
        """Take the number of places, the message of refusals, and the time that the work may take (0: any)."""
        self._least = least
        self._pace_s = pace_s
        self._message = message
        self._clock = clock
        self._metrics = metrics
        self._queue: deque[asyncio.Future[None]] = deque()
        self._queued_since = 0.0
        self._freed: deque[float] = deque(maxlen=MOST_FREED)
        self.taken = 0

    def check(self) -> None:
        """Raise Unavailable where `take` would."""
        if not self._queue:
            return
        # Half of what comes free while one may wait: the last in the queue, too, is likely to be served in time.
        most, waited = self._lately_freed() // 2, self._clock.monotonic() - self._queued_since
        if len(self._queue) >= max(most, BURST if self._pace_s and waited < BURST_S else 1):
            raise self._overloaded()

    async def take(self) -> None:
        """Take a place, which `free` gives back. Raises Unavailable."""
        if not self._queue and self.taken < self._limit():
            self.taken += 1
            return
        self.check()
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self._queue:
            self._queued_since = self._clock.monotonic()
        self._queue.append(place)
        try:
            async with asyncio.timeout(self._queue_s):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self.free()  # it was handed to us in the same moment
            elif place in self._queue:
                self._queue.remove(place)
            if isinstance(error, TimeoutError):
                raise self._overloaded() from error
            raise

    def free(self) -> None:
        """Release a place."""
        self.taken -= 1
        self._freed.append(self._clock.monotonic())
        while self._queue and self.taken < self._limit():
            place = self._queue.popleft()
            if not place.done():
                self.taken += 1
                place.set_result(None)

    def _limit(self) -> int:
        if self.taken < self._least or not self._pace_s:
            return self._least
        return max(self._least, int(self._pace_s / self._queue_s * self._lately_freed()))

    @property
    def _queue_s(self) -> float:
        return BURST_S if self._pace_s else QUEUE_S

    def _lately_freed(self) -> int:
        since = self._clock.monotonic() - self._queue_s
        while self._freed and self._freed[0] < since:
            self._freed.popleft()
        return len(self._freed)

    def _overloaded(self) -> Unavailable:
        self._metrics.refused.labels("overloaded").inc()
        return Unavailable(self._message, code="overloaded", retry_after_s=RETRY_AFTER_S)
