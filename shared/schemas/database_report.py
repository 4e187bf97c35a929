"""What a learner says of the database: gateways do not talk to it themselves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DatabaseReport:
    """What one learner found a moment ago. `reason`: what is wrong in bounded words; "" where it takes writes."""

    version: str = ""
    reason: str = ""
