"""How many bytes of request bodies are in work at the same time, so that many big ones cannot take all memory.

A body counts from before it is read, by its declared length, until its answer is complete. One without a declared
length, or one that unpacks to more, counts as it comes; one whose text takes more memory than its bytes (in a long
string with one emoji each letter takes four) counts as that once it is parsed. The bound is a gateway's:
`MAX_BYTES_IN_WORK`. An eighth of it comes on top for small bodies, so that a few clients with big ones cannot keep all
others out.
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
    """The bound, and what is held of it."""

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
        """The request is complete."""
        self._held -= visit.body_bytes
        visit.body_bytes = 0


def memory_of(raw: bytes, parsed: Any) -> int:
    """Return what the long strings of a parsed body take; 0 where that is no more than the bytes of `raw`.

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
