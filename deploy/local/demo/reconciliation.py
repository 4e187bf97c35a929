"""Whether every rating that was accepted has been learned: counted in Redis, not believed."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import redis.asyncio as aioredis

from shared.bandit.sums import LABELS
from shared.storage import redis_keys

DRAIN_TIMEOUT_S = 45.0
"""An event whose record came late is looked at again after 30 s."""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """`applied`: ratings in the sums; `waiting`: events in the stream; `dead`: events that could not be applied."""

    sent: int
    applied: int
    waiting: int
    dead: int

    @property
    def balanced(self) -> bool:
        """Whether nothing is missing, doubled, waiting or dead."""
        return self.sent == self.applied and self.waiting == 0 and self.dead == 0

    def line(self) -> str:
        """Return it as a sentence."""
        verdict = "every rating is accounted for" if self.balanced else "THE ACCOUNT DOES NOT BALANCE"
        return (
            f"feedback sent {self.sent} = applied {self.applied} (sum of `labels` in Redis), "
            f"{self.waiting} waiting, {self.dead} dead letters: {verdict}"
        )


async def reconcile(redis_url: str, sent: int) -> Reconciliation:
    """Wait until the events are applied, or for DRAIN_TIMEOUT_S, then count."""
    client = aioredis.Redis.from_url(redis_url)
    try:
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while True:
            account = await _count(client, sent)
            if account.waiting == 0 or time.monotonic() > deadline:
                return account
            await asyncio.sleep(0.1)
    finally:
        await client.aclose()


async def _count(client: aioredis.Redis, sent: int) -> Reconciliation:
    applied = 0
    async for key in client.scan_iter(match=redis_keys.sums("*", "*"), count=1000):
        applied += int(await client.hget(key, LABELS) or 0)  # type: ignore[misc]  # typed for sync and async at once
    waiting = await client.xlen(redis_keys.EVENTS)
    return Reconciliation(sent, applied, waiting, await client.xlen(redis_keys.DEAD))
