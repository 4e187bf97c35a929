"""Evaluations while learners are killed: is the budget kept, and how many are paid twice?"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import redis.asyncio as aioredis

from benchmarks.soaking.load import Load, Tally
from benchmarks.soaking.watch import supervise
from deploy.local.plan import ROOT, Planner, Simulation
from deploy.local.stack import Stack
from deploy.simulator.app import SEEN
from deploy.simulator.judge import JUDGE
from services.learner.evaluating.worker import IDLE_S, MOST_IN_WORK
from shared.bandit.sums import NANO
from shared.clock import utc_day
from shared.settings import Settings
from shared.storage import redis_keys

BUDGET_USD = 0.015
RPS = 2.0
KILLS, EVERY_S = 3, 8.0
FINISH_TIMEOUT_S = KILLS * IDLE_S + 60.0


@dataclass(frozen=True)
class Evaluated:
    """Result. `judged`: calls of the judge, of `submitted` evaluations; `waiting`: those that were not finished."""

    spent_usd: float
    submitted: int
    judged: int
    waiting: int

    @property
    def holds(self) -> bool:
        """Whether the budget was kept, and no more was paid twice than was in work."""
        twice = self.judged - self.submitted
        return self.spent_usd <= BUDGET_USD and twice <= KILLS * MOST_IN_WORK and not self.waiting

    def line(self) -> str:
        """Return the result as a sentence."""
        return (
            f"evaluations, learner killed {KILLS} times: {self.spent_usd:.4f} of {BUDGET_USD} USD reserved or spent; "
            f"{self.submitted} submitted, {self.judged} judged (at most {KILLS * MOST_IN_WORK} could be paid twice), "
            f"{self.waiting} not finished"
        )


async def evaluate_under_kills(folder: Path, settings: dict[str, Any]) -> Evaluated:
    """Run a stack of its own with a judge, kill its learner while evaluations are in work, and count."""
    judged = {"JUDGE_MODEL": JUDGE.id, "EVALUATION_BUDGET_USD_PER_DAY": BUDGET_USD}
    planner = Planner(
        Settings.model_validate(settings | judged), folder, ROOT / ".local" / "models",
        Simulation(speed=1.0, failures=0.0), anywhere=True,
    )  # fmt: skip
    with Stack(planner) as stack:
        await asyncio.to_thread(stack.start)
        supervising = asyncio.create_task(supervise(stack))
        load = Load(stack.plan.gateway_url, f"judged-{int(time.time())}", RPS, KILLS * EVERY_S + EVERY_S)
        sending = asyncio.create_task(load.send(Tally()))
        for _ in range(KILLS):
            await asyncio.sleep(EVERY_S)
            os.kill(stack.pids()["learner"], signal.SIGKILL)
        await sending
        try:
            return await _count(stack)
        finally:
            supervising.cancel()


async def _count(stack: Stack) -> Evaluated:
    """Wait until no evaluation waits, then count."""
    deadline = time.monotonic() + FINISH_TIMEOUT_S
    async with aioredis.Redis.from_url(stack.plan.redis_url) as client:
        while True:
            waiting = await client.xlen(redis_keys.EVALUATIONS)
            if not waiting or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.5)
        stream = await client.xinfo_stream(redis_keys.EVALUATIONS)
        spent = int(await client.get(redis_keys.evaluation_spent(utc_day(time.time()))) or 0) / NANO
    simulator = next(part.url for part in stack.plan.parts if part.name == "simulator")
    async with aiohttp.ClientSession() as session, session.get(simulator.removesuffix("/v1") + "/seen") as response:
        bodies = await response.json()
    if len(bodies) >= SEEN:
        raise RuntimeError("the simulator has forgotten the first calls, so they cannot be counted")
    judged = sum(body.get("model") == JUDGE.id for body in bodies)
    return Evaluated(spent, int(stream["entries-added"]), judged, waiting)
