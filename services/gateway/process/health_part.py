"""One part of `/health`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """One part's state: ok, degraded, down or unknown."""

    status: str
    latency_ms: float | None = None
    version: str | None = None
    detail: str | None = None
