"""What a key may use: limits, what one request may take of them, and what is left.

One law for all three limits: a request is let in while something is left, and takes all that it may use, so that any
number of requests at once overshoots a limit by no more than the last of them. What it did not use is given back.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Limits(Struct, frozen=True):
    """Requests and tokens a minute (buckets that refill all the time), and 1e-9 USD a day (UTC). 0: no limit."""

    requests: int = 0
    tokens: int = 0
    nano_usd: int = 0

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return self != Limits()

    def divided(self, by: int) -> Limits:
        """Return an equal share; a limit never becomes none."""
        return Limits(*(-(-limit // by) for limit in (self.requests, self.tokens, self.nano_usd)))


class Charge(Struct, frozen=True):
    """What one request may use at most, under which limits. `day` is the one whose budget pays."""

    limits: Limits
    tokens: int
    nano_usd: int
    day: str


class Limit(StrEnum):
    """Which limit refused."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    BUDGET = "budget"


class Quota(Struct, frozen=True):
    """What is left, after this request where it was let in. `spent` is the day's, reservations included."""

    limits: Limits
    requests: float
    tokens: float
    spent: int
    refused: Limit | None = None


class Toll(Struct, frozen=True):
    """What is still to be settled when a request is recorded: used and reserved. Tokens None: not reserved in Redis."""

    day: str
    tokens: int | None
    nano_usd: int
