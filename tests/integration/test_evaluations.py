"""Evaluations by learner processes, with a real Redis and a simulated upstream: killed, doubled, without a judge."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

from deploy.local.servers import free_port
from deploy.simulator.app import Pace, Simulator
from deploy.simulator.judge import JUDGE
from deploy.simulator.models import InventedWorld
from shared.bandit.racing import EvaluationPlan, EvaluationReason
from shared.bandit.sums import NANO
from shared.clock import utc_day
from shared.errors import DependencyError
from shared.schemas.evaluation import Evaluation, EvaluationTask, Submitted
from shared.storage import redis_keys
from shared.storage.redis_evaluations import RedisEvaluationQueue
from tests.support.learner_rig import Rig, learner_rig, until
from tests.support.ledgers import ledgers_in, sums_in

SERVED, SHADOWS = "openai/gpt-4o", ("openai/gpt-4o-mini", "google/gemini-2.5-flash")
RESERVED = 10_000_000
TASKS = 60


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with learner_rig(tmp_path) as made:
        yield made


@pytest.fixture
async def upstream() -> AsyncIterator[str]:
    async with simulated(None) as url:
        yield url


@asynccontextmanager
async def simulated(port: int | None) -> AsyncIterator[str]:
    """A simulated upstream; yields its address."""
    app = Simulator(InventedWorld(), Pace(speed=4, failures=0), random.Random(0)).application()
    async with TestServer(app, port=port) as server:
        yield str(server.make_url("/v1"))


async def submit(rig: Rig, queue: RedisEvaluationQueue, number: int) -> list[str]:
    """Submit tasks for recorded requests, as a gateway does."""
    await queue.prepare()
    ids = await rig.record(number)
    world = InventedWorld()
    for own_id in ids:
        task = EvaluationTask(
            request_id=own_id,
            owner="public",
            plan=EvaluationPlan(EvaluationReason.RACE, SHADOWS, 1.0),
            arm=SERVED,
            body={"messages": [{"role": "user", "content": f"Question {own_id}"}]},
            answer=world.reply(world.models[SERVED], f"Question {own_id}", 9).text,
            reserved_nano_usd=RESERVED,
            day=utc_day(time.time()),
        )
        assert await queue.submit(task, budget_nano_usd=10**12, most_waiting=10**6) is Submitted.SUBMITTED
    return ids


async def result_of(rig: Rig, own_id: str) -> Evaluation:
    raw = await rig.client.hget(redis_keys.request(own_id), "evaluation")  # type: ignore[misc]
    return Evaluation.from_json(raw)


async def test_kill_9_in_the_middle_of_evaluations(rig: Rig, upstream: str) -> None:
    """Each request gets one result, with the scores of all models, and the day's spending is that of the results."""
    queue = RedisEvaluationQueue(rig.client)
    ids = await submit(rig, queue, TASKS)
    environment = {"JUDGE_MODEL": JUDGE.id, "OPENROUTER_BASE_URL": upstream}
    left = []
    for _ in range(2):
        learner = rig.start_learner(**environment)
        waiting = (await queue.depth()).waiting
        await until(lambda waiting=waiting: has_fallen(queue, waiting))  # type: ignore[misc]
        learner.kill()
        left.append((await queue.depth()).waiting)
    assert 0 < left[1] < left[0] < TASKS, "no learner was killed in the middle"
    rig.start_learner(**environment)
    rig.start_learner(**environment)
    await settled(rig, queue, ids)


async def test_redis_killed_in_the_middle_of_evaluations(rig: Rig, upstream: str) -> None:
    """What was in work is handed in when Redis is back; nothing is counted twice."""
    queue = RedisEvaluationQueue(rig.client)
    ids = await submit(rig, queue, TASKS)
    rig.start_learner(JUDGE_MODEL=JUDGE.id, OPENROUTER_BASE_URL=upstream)
    for _ in range(2):
        waiting = (await queue.depth()).waiting
        await until(lambda waiting=waiting: has_fallen(queue, waiting))  # type: ignore[misc]
        rig.redis.kill()
        await asyncio.sleep(0.5)
        rig.redis.start()
        await until(lambda: answers(queue))
    await settled(rig, queue, ids)


async def test_the_upstream_away_in_the_middle_of_evaluations(rig: Rig) -> None:
    """Each request gets one result all the same: with scores, or with the error of the judge."""
    queue, port = RedisEvaluationQueue(rig.client), free_port()
    ids = await submit(rig, queue, TASKS)
    rig.start_learner(JUDGE_MODEL=JUDGE.id, OPENROUTER_BASE_URL=f"http://127.0.0.1:{port}/v1")
    async with simulated(port):
        await until(lambda: has_fallen(queue, TASKS))
    await asyncio.sleep(1.0)
    async with simulated(port):
        await until(lambda: is_empty(queue), timeout_s=90)
        await until(rig.idle)
    results = [await result_of(rig, own_id) for own_id in ids]
    scored = [result for result in results if result.error is None]
    assert len(scored) > TASKS / 2
    assert all(one.score is None for result in results if result.error for one in result.candidates)
    assert sums_in(rig.url)["labels_milli:judge"] == 1000 * sum(
        one.score is not None for result in scored for one in result.candidates
    )


async def settled(rig: Rig, queue: RedisEvaluationQueue, ids: list[str]) -> None:
    """Wait; then each request has one result with the scores of all models, each was learned once, and all was paid."""
    await until(lambda: is_empty(queue))
    world, spent = InventedWorld(), 0.0
    for own_id in ids:
        result = await result_of(rig, own_id)
        assert (result.judge, result.error) == (JUDGE.id, None)
        worth = {arm: world.reply(world.models[arm], f"Question {own_id}", 9).quality for arm in (SERVED, *SHADOWS)}
        assert {one.arm: one.score for one in result.candidates} == pytest.approx(worth, abs=1e-4)
        spent += result.spent_usd
    assert await queue.spent_usd(time.time()) == pytest.approx(spent, abs=TASKS / NANO)
    assert not await rig.client.exists(*map(redis_keys.evaluation_task, ids))
    await until(rig.idle)
    sums = sums_in(rig.url)
    assert sums == ledgers_in(rig.url)
    assert (sums["labels_milli:judge"], sums["shadows"]) == (3000 * len(ids), 2 * len(ids))


async def has_fallen(queue: RedisEvaluationQueue, waiting: int) -> bool:
    return (await queue.depth()).waiting < waiting


async def answers(queue: RedisEvaluationQueue) -> bool:
    with contextlib.suppress(DependencyError):
        await queue.depth()
        return True
    return False


async def is_empty(queue: RedisEvaluationQueue) -> bool:
    return (await queue.depth()).waiting == 0


async def test_without_a_judge_a_learner_evaluates_nothing(rig: Rig, upstream: str) -> None:
    """Tasks that wait from the time before are left to expire."""
    queue = RedisEvaluationQueue(rig.client)
    await submit(rig, queue, 1)
    rig.start_learner(OPENROUTER_BASE_URL=upstream)
    await rig.living(1)
    await asyncio.sleep(1.0)
    assert (await queue.depth()).waiting == 1


async def test_a_rubric_that_cannot_be_read_stops_the_start(rig: Rig, upstream: str) -> None:
    """With the code of wrong settings, and a message that names the setting."""
    environment = {"JUDGE_MODEL": JUDGE.id, "OPENROUTER_BASE_URL": upstream, "JUDGE_RUBRIC": "/no/such/file"}
    learner = rig.start_learner("services.learner", **environment)
    assert learner.process is not None
    assert await asyncio.to_thread(learner.process.wait, 20) == 2
    assert "JUDGE_RUBRIC: /no/such/file: No such file" in learner.log.read_text()
