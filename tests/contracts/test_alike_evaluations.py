"""The fake and the real `EvaluationQueue` return the same: random steps, each returned value compared whole."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest

from shared.bandit.racing import EvaluationPlan, EvaluationReason
from shared.clock import utc_day
from shared.schemas.evaluation import Candidate, Evaluation, EvaluationTask, QueuedEvaluation
from tests.support.redis_rig import Rig, fake_rig, redis_rig
from tests.support.sample_records import ARM, a_new_record, own_id
from tests.support.whole_values import Ids, outcome

CONSUMERS = ("a", "b")
PLAN = EvaluationPlan(EvaluationReason.RACE, ("b/c",), 0.5, 0.125)


@dataclass
class Side:
    """One queue, with the tasks that it has delivered so far."""

    rig: Rig
    ids: Ids = field(default_factory=dict)
    delivered: list[QueuedEvaluation] = field(default_factory=lambda: [QueuedEvaluation("0-1", "unknown", 1, None)])

    async def taken(self, returned: Awaitable[list[QueuedEvaluation]]) -> list[QueuedEvaluation]:
        """Return tasks, and keep them for later steps."""
        self.delivered += (some := await returned)
        return some


Step = Callable[[Side], Awaitable[object]]


def steps(chance: random.Random, own: Sequence[str], now: float, delivered: int) -> dict[str, Step]:
    """Return one step of each kind."""
    request, consumer, at = chance.choice(own), chance.choice(CONSUMERS), chance.randrange(delivered)
    entry = a_new_record(now, request_id=request)
    task = EvaluationTask(request, "public", PLAN, ARM, {"messages": []}, "ü", chance.choice((5, 50)), utc_day(now))
    budget, most = chance.choice((60, 10_000)), chance.choice((2, 9))
    candidate = Candidate("b/c", served=False, score=0.5, cost_usd=chance.choice((None, 3e-9, 70e-9)))
    result = chance.choice((None, Evaluation("v/judge", "0a", now, (candidate,), 1e-9)))
    idle_s, limit = chance.choice((0.0, 60.0)), chance.choice((1, 9))
    return {
        "record": lambda side: side.rig.log.record([entry]),
        "submit": lambda side: side.rig.evaluations.submit(task, budget_nano_usd=budget, most_waiting=most),
        "read": lambda side: side.taken(side.rig.evaluations.read(consumer, limit)),
        "claim": lambda side: side.taken(side.rig.evaluations.claim(consumer, idle_s=idle_s, limit=limit)),
        "keep": lambda side: side.rig.evaluations.keep(consumer, side.delivered[at]),
        "finish": lambda side: side.rig.evaluations.finish(side.delivered[at], result),
        "forget consumers": lambda side: side.rig.evaluations.forget_consumers(idle_s),
        "depth": lambda side: side.rig.evaluations.depth(),
        "spent": lambda side: side.rig.evaluations.spent_usd(now),
        "events": lambda side: side.rig.queue.read(consumer, limit),
        "outbox": lambda side: side.rig.outbox.read(limit),
        "prepare": lambda side: side.rig.evaluations.prepare(),
    }


@pytest.mark.parametrize("seed", range(6))
async def test_evaluations(redis_server: str, seed: int) -> None:
    """Tasks with their content and deliveries, verdicts on the budget, results with their events, depths, spending."""
    chance = random.Random(seed)
    fake = Side(fake_rig(20))
    async with redis_rig(redis_server, 20) as rig:
        real, done = Side(rig), list[str]()
        await rig.evaluations.prepare()
        own = [own_id(rig.clock.now()) for _ in range(5)]
        for _ in range(200):
            offered = steps(chance, own, rig.clock.now(), len(fake.delivered))
            name = chance.choice(("submit", "submit", "read", "finish", *offered))
            done.append(name)
            theirs = await outcome(offered[name](fake), fake.ids)
            ours = await outcome(offered[name](real), real.ids)
            assert ours == theirs, done[-12:]
