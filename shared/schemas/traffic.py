"""Traffic as it is kept for the dashboard: its bounds, and pages of requests."""

from __future__ import annotations

from msgspec import Struct

from shared.schemas.records import StoredRequest


class TrafficBounds(Struct, frozen=True):
    """Bounds of what Redis keeps of the traffic.

    Attributes:
        requests: entries of each list of requests; 0 for no lists.
        days: lifetime of figures; 0 for no figures.
    """

    requests: int = 1000
    days: int = 30


DEFAULT_BOUNDS = TrafficBounds()


class RequestPage(Struct, frozen=True):
    """Part of a list of requests, newest first.

    Attributes:
        requests: those whose record can be read.
        last: own id of the last one that was read, with or without a record; "" at the end of the list.
    """

    requests: tuple[StoredRequest, ...]
    last: str
