"""Report of a learner on the database; gateways do not connect to it themselves."""

from __future__ import annotations

from msgspec import Struct


class DatabaseReport(Struct, frozen=True):
    """State of the database as one learner sees it. `reason`: a bounded phrase; "" if it accepts writes."""

    version: str = ""
    reason: str = ""
