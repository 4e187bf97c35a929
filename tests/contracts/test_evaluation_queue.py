"""Contract of `EvaluationQueue`, on the fake and on Redis."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import orjson
import pytest

from shared.bandit.racing import EvaluationPlan, EvaluationReason
from shared.clock import utc_day
from shared.schemas.evaluation import Candidate, Evaluation, EvaluationTask, QueuedEvaluation, Submitted
from shared.schemas.events import EventKind
from shared.settings import Settings
from shared.storage import redis_keys
from shared.storage.redis_connection import connect
from shared.storage.redis_evaluations import RedisEvaluationQueue
from tests.support.redis_rig import Rig, redis_rig
from tests.support.sample_records import a_new_record, own_id
from tests.support.values import replace

RESERVED = 3_000_000
PLENTY = 1_000_000_000
PLAN = EvaluationPlan(EvaluationReason.RACE, ("b/two", "c/three"), 0.5, 0.125)
BODY = {"messages": [{"role": "user", "content": "Why is the ünï sky blue?"}], "max_tokens": 50}
RESULT = Evaluation(
    judge="v/judge",
    rubric="0a1b",
    evaluated_at=1_795_000_000.5,
    candidates=(
        Candidate("vendor/model-a", served=True, score=0.75, cost_usd=0.5),  # paid by the request, not by the budget
        Candidate("b/two", served=False, score=1.0, cost_usd=0.0006, latency_s=1.5, prompt_tokens=3),
        Candidate("c/three", served=False, score=None, error="refused", cost_usd=0.0),
    ),
    judge_cost_usd=0.0004,
)


def a_task(rig: Rig, request_id: str, **changes: object) -> EvaluationTask:
    day = utc_day(rig.clock.now())
    task = EvaluationTask(request_id, "public", PLAN, "vendor/model-a", BODY, "Rayleigh.", RESERVED, day)
    return replace(task, **changes)


async def recorded(rig: Rig) -> str:
    """Record a request; return its id. The event of its outcome is taken out of the stream."""
    entry = a_new_record(rig.clock.now())
    await rig.log.record([entry])
    await rig.queue.read("learner", 10)
    return entry.record.id


async def submit(rig: Rig, task: EvaluationTask, *, budget: int = PLENTY, most: int = 10) -> Submitted:
    return await rig.evaluations.submit(task, budget_nano_usd=budget, most_waiting=most)


async def delivered(rig: Rig, **changes: object) -> QueuedEvaluation:
    """Return a task of a recorded request, delivered to `one`."""
    await rig.evaluations.prepare()
    assert await submit(rig, a_task(rig, await recorded(rig), **changes)) is Submitted.SUBMITTED
    (queued,) = await rig.evaluations.read("one", 10)
    return queued


async def spent(rig: Rig) -> float:
    return await rig.evaluations.spent_usd(rig.clock.now())


async def test_a_task_comes_whole_to_one_consumer(rig: Rig) -> None:
    """With everything that a learner needs; a second read gives it to nobody else."""
    task = a_task(rig, await recorded(rig))
    await submit(rig, task)  # before any learner has made the group
    await rig.evaluations.prepare()
    (queued,) = await rig.evaluations.read("one", 10)
    assert (queued.request_id, queued.deliveries, queued.task) == (task.request_id, 1, task)
    assert await rig.evaluations.read("two", 10) == []
    assert (await rig.evaluations.depth()).waiting == 1


async def test_numbers_of_a_body_pass_as_they_were_written(rig: Rig) -> None:
    """The gateway keeps numbers that Python would change as fragments of JSON."""
    queued = await delivered(rig, body={**BODY, "seed": orjson.Fragment("18446744073709551617")})
    assert queued.task is not None
    assert queued.task.body == {**BODY, "seed": 18446744073709551617}


async def test_the_budget_of_a_day_is_reserved_and_never_passed(rig: Rig) -> None:
    """What does not fit is refused and reserves nothing; another day has its own budget."""
    budget = 2 * RESERVED
    tasks = [a_task(rig, await recorded(rig)) for _ in range(4)]
    results = [await submit(rig, task, budget=budget) for task in tasks[:3]]
    assert results == [Submitted.SUBMITTED, Submitted.SUBMITTED, Submitted.OVER_BUDGET]
    assert await spent(rig) == pytest.approx(2 * RESERVED / 1e9)
    assert await submit(rig, replace(tasks[3], day="1999-12-31"), budget=budget) is Submitted.SUBMITTED
    assert await spent(rig) == pytest.approx(2 * RESERVED / 1e9)
    assert (await rig.evaluations.depth()).waiting == 3


async def test_a_full_queue_takes_no_task_and_no_money(rig: Rig) -> None:
    """Tasks that are in work count, too."""
    await delivered(rig)
    await submit(rig, a_task(rig, await recorded(rig)))
    assert await submit(rig, a_task(rig, await recorded(rig)), most=2) is Submitted.QUEUE_FULL
    assert await spent(rig) == pytest.approx(2 * RESERVED / 1e9)
    assert (await rig.evaluations.depth()).waiting == 2


async def test_submitting_again_changes_nothing(rig: Rig) -> None:
    """The reply may have been lost; neither while it waits nor after it is finished is it evaluated twice."""
    queued = await delivered(rig)
    assert queued.task is not None
    assert await submit(rig, queued.task, most=1, budget=RESERVED) is Submitted.SUBMITTED
    assert await spent(rig) == pytest.approx(RESERVED / 1e9)
    assert await rig.evaluations.finish(queued, RESULT)
    assert await submit(rig, queued.task) is Submitted.SUBMITTED
    assert (await rig.evaluations.depth()).waiting == 0
    assert await spent(rig) == pytest.approx(RESULT.spent_usd)


async def test_a_result_is_stored_told_and_paid_once(rig: Rig) -> None:
    """The budget pays for shadow answers and judge, not for what the client was served."""
    queued = await delivered(rig)
    assert await rig.evaluations.finish(queued, RESULT)
    assert await spent(rig) == pytest.approx(0.001)
    (event,) = await rig.queue.read("learner", 10)
    assert (event.kind, event.request_id, event.revision) == (EventKind.EVALUATION, queued.request_id, 1)
    stored = await rig.log.find(owner=None, public_id=queued.request_id)
    assert stored is not None
    assert stored.evaluation == RESULT
    assert (await rig.evaluations.depth()).waiting == 0
    # A second learner had claimed it meanwhile, and has finished later.
    assert not await rig.evaluations.finish(queued, replace(RESULT, judge_cost_usd=0.9))
    assert await rig.queue.read("learner", 10) == []
    assert await spent(rig) == pytest.approx(0.001)
    assert await rig.evaluations.claim("two", idle_s=0, limit=10) == []


@pytest.mark.parametrize("cost_usd", [0.0001, 0.01])
async def test_an_unknown_cost_is_no_refund(rig: Rig, cost_usd: float) -> None:
    """A call of unknown cost may have cost all that was reserved; what is known to be more counts as it is."""
    queued = await delivered(rig)
    broken = Candidate("c/three", served=False, score=None, error="timeout", cost_usd=None)
    await rig.evaluations.finish(queued, replace(RESULT, candidates=(broken,), judge_cost_usd=cost_usd))
    assert await spent(rig) == pytest.approx(max(cost_usd, RESERVED / 1e9))


async def test_what_is_given_up_stays_paid_for(rig: Rig) -> None:
    """It may have cost all that was reserved; nothing is stored, and no event is sent."""
    queued = await delivered(rig)
    assert not await rig.evaluations.finish(queued, None)
    assert await spent(rig) == pytest.approx(RESERVED / 1e9)
    assert await rig.queue.read("learner", 10) == []
    assert (await rig.evaluations.depth()).waiting == 0


async def test_a_request_that_is_gone_takes_no_result(rig: Rig) -> None:
    """The calls were made: they are paid, and nothing else happens."""
    await rig.evaluations.prepare()
    await submit(rig, a_task(rig, "0193a9a1-0000-7000-8000-000000000000"))
    (queued,) = await rig.evaluations.read("one", 10)
    assert not await rig.evaluations.finish(queued, RESULT)
    assert await spent(rig) == pytest.approx(0.001)
    assert await rig.queue.read("learner", 10) == []
    assert (await rig.evaluations.depth()).waiting == 0


async def test_the_task_of_a_dead_learner_is_claimed(rig: Rig) -> None:
    """Only after the idle time; the number of its deliveries grows, by which poison is known."""
    queued = await delivered(rig)
    assert await rig.evaluations.claim("two", idle_s=30, limit=10) == []
    await rig.pass_time(0.05)
    (claimed,) = await rig.evaluations.claim("two", idle_s=0.04, limit=10)
    assert (claimed.entry_id, claimed.deliveries, claimed.task) == (queued.entry_id, 2, queued.task)


async def test_a_task_in_work_is_not_claimed(rig: Rig) -> None:
    """Its learner says so while it waits for models; that counts no delivery."""
    queued = await delivered(rig)
    await rig.pass_time(0.05)
    await rig.evaluations.keep("one", queued)
    assert await rig.evaluations.claim("two", idle_s=0.04, limit=10) == []
    await rig.pass_time(0.05)
    (claimed,) = await rig.evaluations.claim("two", idle_s=0.04, limit=10)
    assert claimed.deliveries == 2
    await rig.pass_time(0.05)
    await rig.evaluations.keep("one", queued)  # too late: it is the other's now
    (again,) = await rig.evaluations.claim("three", idle_s=0.04, limit=10)
    assert again.deliveries == 3


async def test_only_silent_consumers_without_tasks_are_forgotten(rig: Rig) -> None:
    """A task in the hands of a dead learner is not lost with it."""
    await delivered(rig)
    await rig.evaluations.read("holds nothing", 10)
    assert await rig.evaluations.forget_consumers(60) == 0
    await rig.pass_time(0.05)
    assert await rig.evaluations.forget_consumers(0.04) == 1
    assert len(await rig.evaluations.claim("other", idle_s=0.04, limit=10)) == 1


async def test_the_oldest_task_has_an_age(rig: Rig) -> None:
    """An empty queue has none."""
    empty = await rig.evaluations.depth()
    assert (empty.waiting, empty.age_s) == (0, 0.0)
    await delivered(rig)
    await rig.pass_time(0.05)
    assert (await rig.evaluations.depth()).age_s >= 0.04


# -- what only Redis has -----------------------------------------------------------------------------------------------


async def test_prompt_and_answer_live_an_hour_at_most(redis_server: str) -> None:
    """An expired or damaged content is delivered as None, to be given up; the day's sum and the request stay longer."""
    async with redis_rig(redis_server) as rig:
        queued = await delivered(rig)
        key = redis_keys.evaluation_task(queued.request_id)
        assert 3_590 < await rig.raw.ttl(key) <= 3_600
        assert 172_790 < await rig.raw.ttl(redis_keys.evaluation_spent(utc_day(rig.clock.now()))) <= 172_800
        for break_it in (rig.raw.set(key, b'{"request_id": 1}'), rig.raw.delete(key)):
            await break_it
            (broken,) = await rig.evaluations.claim("one", idle_s=0, limit=10)
            assert (broken.request_id, broken.task) == (queued.request_id, None)


async def test_nothing_of_prompt_and_answer_is_left_when_it_is_done(redis_server: str) -> None:
    """Neither in the stream, nor in the result; whether it has one or was given up."""
    async with redis_rig(redis_server, history_bound=100) as rig:
        for result in (RESULT, None):
            queued = await delivered(rig)
            await rig.evaluations.finish(queued, result)
            assert not await rig.raw.exists(redis_keys.evaluation_task(queued.request_id))
            stored = await rig.raw.hget(redis_keys.request(queued.request_id), "evaluation")
            assert stored == (None if result is None else result.to_json())
            assert await rig.raw.ttl(redis_keys.request(queued.request_id)) > 3_600
        assert await rig.raw.xlen(redis_keys.EVALUATIONS) == 0


async def test_a_result_goes_to_the_history(redis_server: str) -> None:
    """The outbox names the request, whose hash has the result."""
    async with redis_rig(redis_server, history_bound=100) as rig:
        queued = await delivered(rig)
        await rig.evaluations.finish(queued, RESULT)
        entries = [fields for _, fields in await rig.raw.xrange(redis_keys.HISTORY)]
        assert {b"kind": b"evaluation", b"id": queued.request_id.encode()} in entries


async def test_gateways_together_never_pass_the_budget(redis_server: str) -> None:
    """Four submit at the same moment; what is reserved is what was submitted, and fits."""
    async with redis_rig(redis_server) as rig, AsyncExitStack() as stack:
        clients = [connect(Settings(REDIS_URL=redis_server)) for _ in range(4)]
        for client in clients:
            stack.push_async_callback(client.aclose, close_connection_pool=True)
        queues = [RedisEvaluationQueue(client) for client in clients]
        made = [a_task(rig, own_id(rig.clock.now())) for _ in range(60)]
        budget = 17 * RESERVED + 1
        results = await asyncio.gather(
            *(
                queues[at % 4].submit(task, budget_nano_usd=budget, most_waiting=1000)
                for at, task in enumerate((*made, *made))
            )
        )
        assert (await rig.evaluations.depth()).waiting == 17
        assert await spent(rig) == pytest.approx(17 * RESERVED / 1e9)
        assert results.count(Submitted.OVER_BUDGET) >= 43


async def test_a_lost_group_is_made_anew(redis_server: str) -> None:
    """Redis may lose its memory while learners run."""
    async with redis_rig(redis_server) as rig:
        await rig.evaluations.prepare()
        await rig.evaluations.prepare()
        await rig.raw.flushall()
        assert await rig.evaluations.read("one", 10) == []
        assert await rig.evaluations.claim("one", idle_s=0, limit=10) == []
        assert (await delivered(rig)).deliveries == 1
