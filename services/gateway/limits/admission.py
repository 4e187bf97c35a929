"""Admission: bounds on concurrent chat requests, of all keys together and of one key, and on the bytes of their bodies.

Two limits protect requests in flight (`places.py`). The number of open requests is fixed by the settings: most of them
wait for a model, which takes no processor time. The number of requests between body and decision follows the measured
pace, so that under overload those that are served are decided in time, with their context, and the others are refused
early. A key at its own limit is refused immediately and never waits in the way of others.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

from services.gateway.limits.places import RETRY_AFTER_S, Places
from services.gateway.request_context import RequestContext
from shared.errors import RateLimited, Unavailable
from shared.metrics import GatewayMetrics
from shared.ports import Clock

LEAST_DECIDING = 32
"""Requests that may always be between body and decision."""

SMALL_BYTES = 131_072
"""Bodies of at most this size have an eighth more room."""
LONG_CHARS = 4096


class Admission:
    """The places for concurrent requests.

    Attributes:
        deciding: the places between body and decision.
    """

    def __init__(self, *, limit: int, per_key: int, decide_s: float, clock: Clock, metrics: GatewayMetrics) -> None:
        """Take the limits, and how long a request may take from body to decision."""
        self._per_key = per_key
        self._metrics = metrics
        self._by_owner: Counter[str] = Counter()
        message = "The router is at its limit of concurrent requests: try again later."
        self._open = Places(limit, message, clock=clock, metrics=metrics)
        message = "The router gets more requests than it can decide in time: try again later."
        self.deciding = Places(LEAST_DECIDING, message, clock=clock, metrics=metrics, pace_s=decide_s)
        metrics.concurrency_limit.set(limit)
        metrics.in_flight.set_function(lambda: self._open.taken)

    async def enter(self, owner: str) -> None:
        """Take a place, which `leave` gives back.

        Raises RateLimited where the key has its share, Unavailable where there is none, or where the request would be
        refused once its body is read.
        """
        if self._per_key and self._by_owner[owner] >= self._per_key:
            self._metrics.refused.labels("key_concurrency").inc()
            raise RateLimited(
                "This key has too many concurrent requests: wait until one of them has ended.",
                code="too_many_concurrent_requests",
                retry_after_s=RETRY_AFTER_S,
            )
        self.deciding.check()
        self._by_owner[owner] += 1
        try:
            await self._open.take()
        except BaseException:
            self._one_less(owner)
            raise

    def leave(self, owner: str) -> None:
        """Release a place."""
        self._open.free()
        self._one_less(owner)

    def _one_less(self, owner: str) -> None:
        self._by_owner[owner] -= 1
        if not self._by_owner[owner]:
            del self._by_owner[owner]


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
