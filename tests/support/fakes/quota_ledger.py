"""What keys have left of their limits, as the scripts `reserve`, `release` and `record` keep it in Redis."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from shared.schemas.quota import Charge, Limit, Limits, Quota
from tests.support.fakes.clock import FakeClock


@dataclass
class Bucket:
    """The hash of a key's requests and tokens."""

    at: float
    requests: float
    tokens: float


@dataclass
class QuotaLedger:
    """Buckets by owner, and 1e-9 USD by owner and day."""

    clock: FakeClock
    buckets: dict[str, Bucket] = field(default_factory=dict)
    spent: Counter[tuple[str, str]] = field(default_factory=Counter)

    def look(self, owner: str, charge: Charge, *, paid: bool) -> Quota:
        """Return what is left, after `charge` unless it is `paid` or refused."""
        limits, now = charge.limits, self.clock.now()
        before = self.buckets.get(owner)
        passed = max(0.0, now - before.at) if before is not None else 0.0

        def level(stored: float | None, limit: int) -> float:
            return min(limit, (limit if stored is None else stored) + passed * limit / 60)

        requests = level(None if before is None else before.requests, limits.requests)
        tokens = level(None if before is None else before.tokens, limits.tokens)
        spent = self.spent[owner, charge.day]
        refused = None if paid else _refused(limits, requests, tokens, spent)
        if not paid and refused is None:
            requests, spent = requests - 1, spent + charge.nano_usd
            tokens -= charge.tokens if limits.tokens else 0
            self.buckets[owner] = Bucket(now, requests, tokens)
            self.spent[owner, charge.day] = spent
        return Quota(limits, requests, tokens, spent, refused)

    def give_back(self, owner: str, charge: Charge) -> None:
        """Put back what a request took of which nothing came."""
        if owner in self.buckets:
            self.buckets[owner].requests += charge.requests
            self.buckets[owner].tokens += charge.tokens
        if (owner, charge.day) in self.spent:
            self.spent[owner, charge.day] -= charge.nano_usd

    def settle(self, owner: str, day: str, tokens: int | None, nano_usd: int) -> None:
        """Take what was used beyond the reservation, or give back what was not used of it."""
        if tokens is not None and owner in self.buckets:
            self.buckets[owner].tokens -= tokens
        self.spent[owner, day] += nano_usd


def _refused(limits: Limits, requests: float, tokens: float, spent: int) -> Limit | None:
    if limits.requests > 0 and requests < 1:
        return Limit.REQUESTS
    if limits.tokens > 0 and tokens <= 0:
        return Limit.TOKENS
    return Limit.BUDGET if limits.nano_usd > 0 and spent >= limits.nano_usd else None
