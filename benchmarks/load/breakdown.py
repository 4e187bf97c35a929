"""Breakdown of a profile by part of the gateway: a stack belongs to the part of its innermost known frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

PARTS = (
    ("embed hop", ("shared/clients/embedder_client",)),
    ("search hop", ("shared/storage/qdrant_",)),
    ("upstream hop", ("shared/clients/",)),
    ("decision", ("shared/bandit/", "services/gateway/chat/selection", "services/gateway/models/posterior_cache")),
    ("parse", ("shared/schemas/chat", "shared/schemas/strict_json", "shared/schemas/requirements")),
    ("log line", ("structlog/", "shared/logs")),
    ("metrics", ("prometheus_client/", "services/gateway/chat/chat_metrics")),
    ("reserve and record", ("shared/storage/redis_", "redis/", "services/gateway/records/", "shared/schemas/records")),
    ("context", ("services/gateway/chat/context",)),
    ("HTTP server and the rest of the gateway", ("services/gateway/", "aiohttp/web")),
)
REST = "event loop, sockets, HTTP clients' reading"


def by_part(stacks: Mapping[str, int], us_a_request: float) -> dict[str, float]:
    """Return microseconds per request by part, in the order above."""
    counts = Counter[str]()
    for stack, samples in stacks.items():
        counts[_part(stack)] += samples
    total = max(counts.total(), 1)
    return {name: us_a_request * counts[name] / total for name in (*(name for name, _ in PARTS), REST)}


def _part(stack: str) -> str:
    for frame in reversed(stack.split(";")):
        if "services/gateway/__main__" in frame:
            break
        for name, prefixes in PARTS:
            if frame.startswith(prefixes):
                return name
    return REST
