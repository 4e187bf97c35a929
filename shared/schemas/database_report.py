"""What a learner says of the database: gateways do not talk to it themselves."""

from __future__ import annotations

from msgspec import Struct


class DatabaseReport(Struct, frozen=True):
    """What one learner found a moment ago. `reason`: what is wrong in bounded words; "" where it takes writes."""

    version: str = ""
    reason: str = ""
