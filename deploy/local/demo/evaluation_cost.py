"""Cost of the demo's evaluations, as Redis has it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import redis.asyncio as aioredis

from shared.bandit.arms import ArmId
from shared.bandit.sums import NANO, SHADOWS
from shared.clock import utc_day
from shared.storage import redis_keys

FINISH_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class EvaluationCost:
    """Requests that were submitted for evaluation, those that were not finished in time, and what all have cost.

    `asked`: answers beside the user's path, by model.
    """

    submitted: int = 0
    waiting: int = 0
    spent_usd: float = 0.0
    asked: Mapping[ArmId, int] = field(default_factory=dict)

    def line(self, served_usd: float) -> str:
        """Return the figures as a sentence."""
        left = f" ({self.waiting} NOT FINISHED)" if self.waiting else ""
        share = f", {self.spent_usd / served_usd:.0%} of what serving cost ({served_usd:.4f} USD)" if served_usd else ""
        return (
            f"Evaluating: the judge scored {self.submitted} requests{left}, with {sum(self.asked.values())} answers of "
            f"other models beside the user's, for {self.spent_usd:.4f} USD{share}."
        )


async def evaluation_cost(redis_url: str, wait_s: float = FINISH_TIMEOUT_S) -> EvaluationCost:
    """Wait until all evaluations are made and learned, at most `wait_s`, then read what they have cost."""
    client = aioredis.Redis.from_url(redis_url)
    try:
        deadline = time.monotonic() + wait_s
        while True:
            waiting, unlearned = await client.xlen(redis_keys.EVALUATIONS), await client.xlen(redis_keys.EVENTS)
            if not (waiting or unlearned) or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.1)
        if not await client.exists(redis_keys.EVALUATIONS):
            return EvaluationCost()
        stream = await client.xinfo_stream(redis_keys.EVALUATIONS)
        spent = await client.get(redis_keys.evaluation_spent(utc_day(time.time())))
        asked = await _asked(client)
        return EvaluationCost(int(stream["entries-added"]), waiting, int(spent or 0) / NANO, asked)
    finally:
        await client.aclose()


async def _asked(client: aioredis.Redis) -> dict[ArmId, int]:
    """Return the number of answers beside the user's path by model, as the learner has counted them."""
    found = Counter[ArmId]()
    async for key in client.scan_iter(match=redis_keys.sums("*", "*"), count=1000):
        arm = key.decode().removeprefix(redis_keys.SUMS).rpartition("|")[0]
        found[arm] += int(await client.hget(key, SHADOWS) or 0)  # type: ignore[misc]  # redis-py types one result for sync and async
    return {arm: number for arm, number in found.most_common() if number}
