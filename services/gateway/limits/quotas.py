"""Quotas: rate limits and daily budgets of keys, with estimates of what a request may use.

The shared counters live in Redis: the script that reserves the request's id charges them, and the one that records the
request settles the charge, so that neither costs a round trip. Without Redis each gateway gives out its own share.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from shared.bandit.arms import Price
from shared.clock import utc_day
from shared.errors import RateLimited
from shared.ports import Clock
from shared.schemas.chat import ChatRequest
from shared.schemas.quota import Charge, Limit, Limits, Quota, Toll
from shared.schemas.records import Outcome
from shared.settings import Settings

NANO = 1_000_000_000
CHARS_PER_TOKEN = 4
TOKENS_OF_A_PART = 1000
"""Estimate for an image or another part without text."""

TOKENS_OF_AN_ANSWER = 1024
"""Estimate for an answer without `max_tokens`, until its length is known."""

MOST_TOKENS = 100_000_000
"""A `max_tokens` above this is no limit."""

_DAY_S = 86_400.0


@dataclass(slots=True)
class _Level:
    """What a key has left of this gateway's share, while Redis is away."""

    at: float
    requests: float
    tokens: float
    day: str
    spent: int = 0


class Quotas:
    """The limits of every key."""

    def __init__(self, default: Limits, by_prefix: Mapping[str, Limits], *, gateways: int, clock: Clock) -> None:
        self._default = default
        self._by_prefix = by_prefix
        self._gateways = gateways
        self._clock = clock
        self._levels: dict[str, _Level] = {}

    def limits(self, owner: str) -> Limits:
        """Return the limits of a key, by the longest hash prefix that fits."""
        fitting = [prefix for prefix in self._by_prefix if owner.startswith(prefix)]
        return self._by_prefix[max(fitting, key=len)] if fitting else self._default

    def charge(self, owner: str, chat: ChatRequest, prices: Iterable[Price | None]) -> Charge | None:
        """Return the most that `chat` may use, at the price of the dearest arm; None for a key without limits."""
        if not self.limits(owner):
            return None
        return self.charge_tokens(owner, prompt_tokens(chat.body), answer_tokens(chat.body), prices)

    def charge_tokens(self, owner: str, prompt: int, answer: int, prices: Iterable[Price | None]) -> Charge | None:
        """Return the most that a request with so many tokens may use, at the price of the dearest arm."""
        limits = self.limits(owner)
        if not limits:
            return None
        cost_usd = max((price.cost_usd(prompt, answer) for price in prices if price is not None), default=0.0)
        return Charge(limits, prompt + answer, round(cost_usd * NANO), utc_day(self._clock.now()))

    def without_redis(self, owner: str, charge: Charge) -> Quota:
        """Take from this gateway's share. Bounded: as many levels as there are keys with limits."""
        limits, now = charge.limits.divided(self._gateways), self._clock.monotonic()
        level = self._levels.setdefault(owner, _Level(now, limits.requests, limits.tokens, charge.day))
        passed, level.at = now - level.at, now
        level.requests = min(limits.requests, level.requests + passed * limits.requests / 60)
        level.tokens = min(limits.tokens, level.tokens + passed * limits.tokens / 60)
        if level.day != charge.day:
            level.day, level.spent = charge.day, 0
        refused = _refused(limits, level)
        if refused is None:
            level.requests -= 1
            level.tokens -= charge.tokens
            level.spent += charge.nano_usd
        return Quota(limits, level.requests, level.tokens, level.spent, refused)

    def give_back(self, owner: str, charge: Charge | None) -> None:
        """Return what `without_redis` took for a request that was not served, or the unused part of it."""
        level = self._levels.get(owner)
        if charge is not None and level is not None:
            level.requests += charge.requests
            level.tokens += charge.tokens
            level.spent -= charge.nano_usd

    def settle(self, owner: str, charge: Charge, outcome: Outcome) -> None:
        """Return to this gateway's share what a request has not used; where Redis was charged, its record does that."""
        level = self._levels.get(owner)
        if level is not None:
            level.tokens += charge.tokens - outcome.prompt_tokens - outcome.completion_tokens
            level.spent += round(outcome.spent_usd * NANO) - charge.nano_usd


def settlement(charge: Charge, *, in_redis: bool) -> Toll:
    """Return what the record settles: the whole charge, or nothing where Redis was not charged."""
    if in_redis:
        return Toll(charge.day, charge.tokens if charge.limits.tokens else None, charge.nano_usd)
    return Toll(charge.day, None, 0)


def _refused(limits: Limits, level: _Level) -> Limit | None:
    if limits.requests and level.requests < 1:
        return Limit.REQUESTS
    if limits.tokens and level.tokens <= 0:
        return Limit.TOKENS
    return Limit.BUDGET if limits.nano_usd and level.spent >= limits.nano_usd else None


# -- what a request may use ------------------------------------------------------------------------------------------


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Return an estimate from the length of all text and tools, and the number of other parts."""
    chars = parts = 0
    for message in body["messages"]:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            text = part.get("text") if isinstance(part, dict) else part
            chars, parts = (chars + len(text), parts) if isinstance(text, str) else (chars, parts + 1)
        chars += len(content) if isinstance(content, str) else 0
    extras = [body[name] for name in ("tools", "functions", "response_format") if body.get(name)]
    chars += len(orjson.dumps(extras)) if extras else 0
    return chars // CHARS_PER_TOKEN + parts * TOKENS_OF_A_PART + 1


def answer_tokens(body: Mapping[str, Any]) -> int:
    """Return what the client allows, or a usual length, for each of the answers that it wants."""
    return (largest_answer(body) or TOKENS_OF_AN_ANSWER) * int(body.get("n") or 1)


def largest_answer(body: Mapping[str, Any]) -> int | None:
    """Return the length of an answer that the client allows; None where it sets no limit that we can read.

    The upstream judges these fields: to some of them 0 and -1 mean no limit.
    """
    for name in ("max_completion_tokens", "max_tokens"):
        most = body.get(name)
        if isinstance(most, int | float) and 1 <= most <= MOST_TOKENS:
            return int(most)
    return None


# -- headers and errors -----------------------------------------------------------------------------------------


def rate_limit_headers(quota: Quota, now: float) -> dict[str, str]:
    """Return OpenAI's `x-ratelimit-*` headers, and the same for the budget."""
    limits, headers = quota.limits, dict[str, str]()
    for name, limit, level in (("requests", limits.requests, quota.requests), ("tokens", limits.tokens, quota.tokens)):
        if limit:
            headers |= _headers(name, str(limit), str(max(0, int(level))), (limit - level) * 60 / limit)
    if limits.nano_usd:
        left = max(0, limits.nano_usd - quota.spent) / NANO
        headers |= _headers("usd", f"{limits.nano_usd / NANO:.9g}", f"{left:.9g}", _to_midnight(now))
    if quota.refused is Limit.BUDGET:
        headers["x-should-retry"] = "false"  # the SDKs obey: no second try will help today
    return headers


def refusal(quota: Quota, now: float) -> RateLimited:
    """Return the error of a refused request, with the time until it may come again."""
    limits = quota.limits
    if quota.refused is Limit.BUDGET:
        return RateLimited(
            "This key has spent its budget of the day.", code="insufficient_quota", retry_after_s=_to_midnight(now)
        )
    by_requests = quota.refused is Limit.REQUESTS
    wait_s = (1 - quota.requests) * 60 / limits.requests if by_requests else -quota.tokens * 60 / limits.tokens
    return RateLimited(
        f"This key has used its {quota.refused} of the minute.", code="rate_limit_exceeded",
        retry_after_s=max(wait_s, 1.0),
    )  # fmt: skip


def _headers(name: str, limit: str, left: str, reset_s: float) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{name}": limit,
        f"x-ratelimit-remaining-{name}": left,
        f"x-ratelimit-reset-{name}": f"{max(0.0, math.ceil(reset_s * 1000) / 1000):g}s",
    }


def _to_midnight(now: float) -> float:
    return _DAY_S - now % _DAY_S


def build_quotas(settings: Settings, clock: Clock) -> Quotas:
    """Return the limits that the settings give; what KEY_LIMITS does not name for a key stays as it is for all."""
    general = {"rpm": settings.RATE_LIMIT_RPM, "tpm": settings.RATE_LIMIT_TPM, "usd": settings.BUDGET_USD_PER_DAY}
    own: dict[str, Limits] = {}
    for entry in settings.KEY_LIMITS:
        prefix, *parts = entry.split(":")
        values = {name: float(value) for name, _, value in (part.partition("=") for part in parts)}
        own[prefix] = _limits(**{**general, **values})
    return Quotas(_limits(**general), own, gateways=settings.ASSUMED_GATEWAYS, clock=clock)


def _limits(rpm: float, tpm: float, usd: float) -> Limits:
    return Limits(round(rpm), round(tpm), round(usd * NANO))
