"""Admission: bounds on concurrent chat requests, of all keys together and of one key, and on the bytes of their bodies.

A request that finds no place waits a tenth of a second for one, and only where places have been coming free: a queue
that does not move would only delay refusals. A key at its own limit is refused immediately and never waits in the way
of others.

The limit is fixed by the settings. A limit that shrinks while the event loop is late cannot tell our own overload from
a busy machine, and refusals take time from requests in flight: clients that retry immediately then fill the loop with
refusals, and the limit never grows back.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter, deque
from typing import Any

from services.gateway.request_context import RequestContext
from shared.errors import RateLimited, Unavailable
from shared.metrics import GatewayMetrics
from shared.ports import Clock

QUEUE_S = 0.1
RETRY_AFTER_S = 1.0

MOST_FREED = 4096
"""Bound on the remembered times at which places came free."""

SMALL_BYTES = 131_072
"""Bodies of at most this size have an eighth more room."""
LONG_CHARS = 4096


class Admission:
    """The places for concurrent requests."""

    def __init__(self, *, limit: int, per_key: int, clock: Clock, metrics: GatewayMetrics) -> None:
        self._limit = limit
        self._per_key = per_key
        self._clock = clock
        self._metrics = metrics
        self._taken = 0
        self._by_owner: Counter[str] = Counter()
        self._queue: deque[asyncio.Future[None]] = deque()
        self._freed: deque[float] = deque(maxlen=MOST_FREED)
        metrics.concurrency_limit.set(limit)
        metrics.in_flight.set_function(lambda: self._taken)

    async def enter(self, owner: str) -> None:
        """Take a place, which `leave` gives back.

        Raises RateLimited where the key has its share, Unavailable where there is none.
        """
        if self._per_key and self._by_owner[owner] >= self._per_key:
            self._metrics.refused.labels("key_concurrency").inc()
            raise RateLimited(
                "This key has too many concurrent requests: wait until one of them has ended.",
                code="too_many_concurrent_requests",
                retry_after_s=RETRY_AFTER_S,
            )
        self._by_owner[owner] += 1
        try:
            await self._take()
        except BaseException:
            self._one_less(owner)
            raise

    def leave(self, owner: str) -> None:
        """Release a place."""
        self._free()
        self._one_less(owner)

    def _one_less(self, owner: str) -> None:
        self._by_owner[owner] -= 1
        if not self._by_owner[owner]:
            del self._by_owner[owner]

    async def _take(self) -> None:
        if self._taken < self._limit and not self._queue:
            self._taken += 1
            return
        # Half of what comes free while one may wait: the last in the queue, too, is likely to be served in time.
        if len(self._queue) >= max(1, self._lately_freed() // 2):
            raise self._overloaded()
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        try:
            async with asyncio.timeout(QUEUE_S):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self._free()  # it was handed to us in the same moment
            elif place in self._queue:
                self._queue.remove(place)
            if isinstance(error, TimeoutError):
                raise self._overloaded() from error
            raise

    def _free(self) -> None:
        self._taken -= 1
        self._freed.append(self._clock.monotonic())
        self._hand_on()

    def _hand_on(self) -> None:
        while self._queue and self._taken < self._limit:
            place = self._queue.popleft()
            if not place.done():
                self._taken += 1
                place.set_result(None)

    def _lately_freed(self) -> int:
        since = self._clock.monotonic() - QUEUE_S
        while self._freed and self._freed[0] < since:
            self._freed.popleft()
        return len(self._freed)

    def _overloaded(self) -> Unavailable:
        self._metrics.refused.labels("overloaded").inc()
        return Unavailable(
            "The router is at its limit of concurrent requests: try again later.",
            code="overloaded",
            retry_after_s=RETRY_AFTER_S,
        )


class BodyBytes:
    """Bound on the bytes of request bodies in work (MAX_BYTES_IN_WORK), so that they cannot take all memory.

    A body counts from before it is read, by its declared length, until its response is complete. One without a declared
    length, or one that unpacks to more, counts as it arrives; one whose text takes more memory than its bytes (in a
    long string with one emoji every letter takes four) counts as that memory once it is parsed. Small bodies have more
    room, so that a few clients with large bodies cannot keep all others out.
    """

    def __init__(self, limit: int, metrics: GatewayMetrics) -> None:
        self._limit = limit
        self._limit_with_small = limit + limit // 8
        self._metrics = metrics
        self._held = 0
        metrics.bytes_in_work.set_function(lambda: self._held)

    def hold(self, context: RequestContext, size: int) -> None:
        """Count a request's body as at least `size` bytes, until `release`. Raises Unavailable beyond the bound."""
        more = size - context.body_bytes
        if more <= 0:
            return
        if self._held + more > (self._limit if size > SMALL_BYTES else self._limit_with_small):
            self._metrics.refused.labels("bytes").inc()
            raise Unavailable(
                "Too many bytes of request bodies are in work; send this one again later, or a smaller one.",
                code="overloaded",
                retry_after_s=RETRY_AFTER_S,
            )
        self._held += more
        context.body_bytes = size

    def release(self, context: RequestContext) -> None:
        """Release what the request holds: its response is complete."""
        self._held -= context.body_bytes
        context.body_bytes = 0


def memory_of(raw: bytes, parsed: Any) -> int:
    """Return the bytes that the long strings of a parsed body take; 0 where that is no more than the bytes of `raw`.

    The encoder leaves a copy in UTF-8 beside each string that is not ASCII.
    """
    if raw.isascii() and b"\\u" not in raw:
        return 0
    taken, left = 0, [parsed]
    while left:
        value = left.pop()
        if isinstance(value, str):
            taken += sys.getsizeof(value) if len(value) > LONG_CHARS else 0
        elif isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list):
            left += value
    return taken + len(raw)
