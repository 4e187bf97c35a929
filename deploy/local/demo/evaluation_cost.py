"""Cost of the demo's evaluations, as Redis has it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import redis.asyncio as aioredis

from shared.bandit.sums import NANO
from shared.clock import utc_day
from shared.storage import redis_keys

FINISH_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class EvaluationCost:
    """Requests that were submitted for evaluation, those that were not finished in time, and what all have cost."""

    submitted: int
    waiting: int
    spent_usd: float

    def line(self, served_usd: float) -> str:
        """Return the figures as a sentence."""
        left = f", {self.waiting} NOT FINISHED" if self.waiting else ""
        share = f", {self.spent_usd / served_usd:.0%} of what serving cost" if served_usd else ""
        return f"{self.submitted} requests evaluated{left} for {self.spent_usd:.4f} USD{share}"


async def evaluation_cost(redis_url: str) -> EvaluationCost:
    """Wait until no evaluation is left, at most FINISH_TIMEOUT_S, then read what they have cost."""
    client = aioredis.Redis.from_url(redis_url)
    try:
        deadline = time.monotonic() + FINISH_TIMEOUT_S
        while True:
            waiting = await client.xlen(redis_keys.EVALUATIONS)
            if waiting == 0 or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.1)
        stream = await client.xinfo_stream(redis_keys.EVALUATIONS)
        spent = await client.get(redis_keys.evaluation_spent(utc_day(time.time())))
        return EvaluationCost(int(stream["entries-added"]), waiting, int(spent or 0) / NANO)
    finally:
        await client.aclose()
