"""Bound on the bytes of request bodies in work (MAX_BYTES_IN_WORK), so that many large ones cannot take all memory.

A body counts from before it is read, by its declared length, until its response is complete. A body without a declared
length, or one that unpacks to more, counts as it arrives; one whose text takes more memory than its bytes (in a long
string with one emoji every letter takes four) counts as that memory once it is parsed. Small bodies have an eighth more
room, so that a few clients with large bodies cannot keep all others out.
"""

from __future__ import annotations

import sys
from typing import Any

from services.gateway.request_context import RequestContext
from shared.errors import Unavailable
from shared.metrics import GatewayMetrics

RETRY_AFTER_S = 1.0
SMALL_BYTES = 131_072
LONG_CHARS = 4096


class BodyBytes:
    """The bytes that are held of the bound."""

    def __init__(self, limit: int, metrics: GatewayMetrics) -> None:
        self._limit = limit
        self._limit_with_small = limit + limit // 8
        self._metrics = metrics
        self._held = 0
        metrics.bytes_in_work.set_function(lambda: self._held)

    def hold(self, visit: RequestContext, size: int) -> None:
        """Count a request's body as at least `size` bytes, until `release`. Raises Unavailable beyond the bound."""
        more = size - visit.body_bytes
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
        visit.body_bytes = size

    def release(self, visit: RequestContext) -> None:
        """Release what the request holds: its response is complete."""
        self._held -= visit.body_bytes
        visit.body_bytes = 0


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
