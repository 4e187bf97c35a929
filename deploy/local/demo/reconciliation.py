"""Reconciliation: compares the accepted ratings with those counted in the sums in Redis."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import redis.asyncio as aioredis

from shared.bandit.sums import LABELS
from shared.storage import redis_keys

DRAIN_TIMEOUT_S = 45.0
"""Longer than the 30 s after which an event whose record came late is delivered again."""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Counts: ratings `sent`, `applied` to the sums; events `waiting` in the stream, and `dead` letters."""

    sent: int
    applied: int
    waiting: int
    dead: int

    @property
    def balanced(self) -> bool:
        """Whether every rating was applied exactly once."""
        return self.sent == self.applied and self.waiting == 0 and self.dead == 0

    def line(self) -> str:
        """Return the counts as a sentence."""
        verdict = "every rating is accounted for" if self.balanced else "THE ACCOUNT DOES NOT BALANCE"
        return (
            f"feedback sent {self.sent} = applied {self.applied} (sum of `labels` in Redis), "
            f"{self.waiting} waiting, {self.dead} dead letters: {verdict}"
        )


async def reconcile(redis_url: str, sent: int) -> Reconciliation:
    """Wait until no event waits, at most DRAIN_TIMEOUT_S, then count."""
    client = aioredis.Redis.from_url(redis_url)
    try:
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while True:
            result = await _count(client, sent)
            if result.waiting == 0 or time.monotonic() > deadline:
                return result
            await asyncio.sleep(0.1)
    finally:
        await client.aclose()


async def _count(client: aioredis.Redis, sent: int) -> Reconciliation:
    applied = 0
    async for key in client.scan_iter(match=redis_keys.sums("*", "*"), count=1000):
        applied += int(await client.hget(key, LABELS) or 0)  # type: ignore[misc]  # redis-py types one result for sync and async
    waiting = await client.xlen(redis_keys.EVENTS)
    return Reconciliation(sent, applied, waiting, await client.xlen(redis_keys.DEAD))
