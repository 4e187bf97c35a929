"""Quotas of a key: limits, the charge of one request, and the remainder.

One rule for all three limits: a request is admitted while something is left, and reserves the most that it may use, so
any number of concurrent requests exceeds a limit by one request at most. What it did not use is refunded.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Limits(Struct, frozen=True):
    """Limits: requests and tokens per minute (token buckets), 1e-9 USD per day (UTC). 0: no limit."""

    requests: int = 0
    tokens: int = 0
    nano_usd: int = 0

    def __bool__(self) -> bool:
        """Return whether any limit is set."""
        return self != Limits()

    def divided(self, by: int) -> Limits:
        """Return an equal share, rounded up: a limit never becomes 0, which is no limit."""
        return Limits(*(-(-limit // by) for limit in (self.requests, self.tokens, self.nano_usd)))


class Charge(Struct, frozen=True):
    """Reservation of one request: the most it may use, and the limits. `day`: whose budget pays.

    What `unused` returns is the part of it that is given back; its `requests` are 0: the request was made.
    """

    limits: Limits
    tokens: int
    nano_usd: int
    day: str
    requests: int = 1

    def unused(self, tokens: int, nano_usd: int) -> Charge:
        """Return what is left after a request has used so much; negative where it was more."""
        return Charge(self.limits, self.tokens - tokens, self.nano_usd - nano_usd, self.day, requests=0)


class Limit(StrEnum):
    """The limit that refused a request."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    BUDGET = "budget"


class Quota(Struct, frozen=True):
    """Remaining quota, after this request if it was admitted. `spent`: of the day, with reservations."""

    limits: Limits
    requests: float
    tokens: float
    spent: int
    refused: Limit | None = None


class Toll(Struct, frozen=True):
    """Charge to settle when a request is recorded: reserved amounts. Tokens None: not reserved in Redis."""

    day: str
    tokens: int | None
    nano_usd: int
