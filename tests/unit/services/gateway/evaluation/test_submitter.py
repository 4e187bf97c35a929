"""From an answered request to a task in the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.gateway.app import Gateway
from services.gateway.evaluation import submitter as submitting
from services.gateway.evaluation.reservation import reservation
from services.gateway.evaluation.results import Result
from shared.bandit.arms import Price
from shared.errors import UpstreamError
from shared.schemas.answer_parts import AnswerChoice, ToolCall
from shared.schemas.upstream import Usage
from tests.support.fakes.chat_model import Reply
from tests.support.fakes.gateway import ARMS, World
from tests.support.values import replace
from tests.unit.services.gateway.evaluation.rig import JUDGE, ask, changed, counts, judged_world, tasks

PRICES = {arm.id: arm.price for arm in ARMS}


async def until(said: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not said():  # noqa: ASYNC110 - what is waited for is counted by a background loop
            await asyncio.sleep(0.002)


async def asked(world: World, gateway: Gateway, times: int = 1, **fields: Any) -> None:
    """Ask, and wait until each request has been counted."""
    for _ in range(times):
        before = sum(counts(world).values())
        await ask(gateway, **fields)
        await until(lambda before=before: sum(counts(world).values()) > before)  # type: ignore[misc]


async def test_a_task_has_what_a_learner_needs_and_no_more(tmp_path: Path) -> None:
    """The request without what concerns its delivery, and the answer with its tool calls."""
    world = judged_world(tmp_path)
    for arm in world.upstream.arms:
        world.upstream.tell(arm.id, Reply("Let me look.", calls=("call_1",)))
    tools = [{"type": "function", "function": {"name": "look"}}]
    body: dict[str, Any] = {"tools": tools, "max_tokens": 50, "temperature": 0.5}
    delivery: dict[str, Any] = {"store": True, "n": 1, "service_tier": "priority"}
    user: dict[str, Any] = {
        "user": "someone",
        "metadata": {"a": "b"},
        "session_id": "s",
        "safety_identifier": "x",
        "prompt_cache_key": "k",
    }
    async with world.gateway() as gateway:
        await asked(world, gateway, owner="0a1b", **body, **delivery, **user)
    (task,) = tasks(world)
    assert task.owner == "0a1b"
    assert task.body == {"messages": [{"role": "user", "content": "What is the capital of Peru?"}], **body}
    assert task.answer == 'Let me look.\n{"tool_calls": [{"name": "look", "arguments": ""}]}'
    assert task.day == "2026-11-18"


async def test_the_reservation_pays_for_all_answers_and_the_verdict(tmp_path: Path) -> None:
    """By list prices; the client's own limit bounds the others' answers as it bounds its own."""
    world = judged_world(tmp_path)
    world.upstream.default = Reply(usage=Usage(2000, 1000, None))
    async with world.gateway() as gateway:
        await asked(world, gateway)
        await asked(world, gateway, max_tokens=1200)
        spent = await world.adapters.evaluations.spent_usd(world.clock.now())
    for task, longest in zip(tasks(world), (2000, 1200), strict=True):
        shadows = [PRICES[arm] for arm in task.plan.arms]
        assert len(shadows) == 2
        judged = 1000 + 2000 + 1000 + 2 * longest
        usd = sum(price.cost_usd(2000, longest) for price in shadows if price) + judged * 1e-6 + 512 * 2e-6
        assert task.reserved_nano_usd == pytest.approx(usd * 1e9, abs=1)
    assert spent == pytest.approx(sum(task.reserved_nano_usd for task in tasks(world)) / 1e9)


async def test_the_model_that_served_in_place_of_the_chosen_one_is_not_asked_again(tmp_path: Path) -> None:
    """The record keeps the plan as it was drawn."""
    world = judged_world(tmp_path, LLM_MODELS="a/small,b/middle", DEFAULT_MODEL="b/middle")
    world.upstream.tell("a/small", *(Reply(error=UpstreamError("refused", cool_s=0.0)) for _ in range(9)))
    async with world.gateway() as gateway:
        for _ in range(30):
            await asked(world, gateway)
            if world.records[-1].decision.ranked[0] == "a/small":
                break
    assert world.records[-1].evaluation_plan is not None
    assert world.records[-1].evaluation_plan.arms == ("b/middle",)
    assert (tasks(world)[-1].arm, tasks(world)[-1].plan.arms) == ("b/middle", ())


@pytest.mark.parametrize(
    ("settings", "result", "pause_s"),
    [
        ({"EVALUATION_BUDGET_USD_PER_DAY": "0.000001"}, Result.OVER_BUDGET, submitting.SPENT_PAUSE_S),
        ({"EVALUATION_MAX_WAITING": "1"}, Result.QUEUE_FULL, submitting.PAUSE_S),
    ],
)
async def test_at_a_bound_nothing_is_planned_for_a_while(
    tmp_path: Path, settings: dict[str, str], result: Result, pause_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt is not carried to Redis for each request, only to be refused there."""
    world = judged_world(tmp_path, **settings)
    async with world.gateway() as gateway:
        assert gateway.evaluations is not None
        now = world.clock.monotonic()
        monkeypatch.setattr(world.clock, "monotonic", lambda: now)
        await asked(world, gateway, 5)
        assert counts(world)[result] >= 4
        drawn = [record for record in world.records if record.evaluation_plan is not None]
        assert len(drawn) == len(tasks(world)) + 1
        assert gateway.evaluations.submitter.paused is result
        now += pause_s
        assert gateway.evaluations.submitter.paused is None


async def test_free_models_need_no_budget(tmp_path: Path) -> None:
    """A budget of 0 spends nothing, and nothing is spent."""
    free = [replace(arm, price=Price(0.0, 0.0)) for arm in (*ARMS, JUDGE)]
    world = judged_world(tmp_path, *free, EVALUATION_BUDGET_USD_PER_DAY="0")
    async with world.gateway() as gateway:
        await asked(world, gateway)
    assert counts(world) == {Result.SUBMITTED: 1}


async def test_without_redis_the_answer_is_served_and_not_evaluated(tmp_path: Path) -> None:
    """The record goes to disk; an evaluation would have nothing to belong to."""
    world = judged_world(tmp_path)
    async with world.gateway() as gateway:
        world.memory.away = True
        await asked(world, gateway)
        assert counts(world) == {Result.NOT_STORED: 1}
        world.memory.away = False


async def test_a_queue_that_fails_costs_the_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis goes away between record and task, or is too slow; for a moment nothing is planned."""
    world = judged_world(tmp_path, REDIS_TIMEOUT_MS="50")
    async with world.gateway() as gateway:
        assert gateway.evaluations is not None

        async def stuck(*_: Any, **__: Any) -> None:
            await asyncio.sleep(60)

        monkeypatch.setattr(gateway.evaluations.submitter.queue, "submit", stuck)
        await asked(world, gateway, 2)
        assert gateway.evaluations.submitter.paused is Result.REDIS
    assert counts(world) == {Result.REDIS: 2}


async def test_an_answer_that_is_not_known_whole_is_not_evaluated(tmp_path: Path) -> None:
    """A judge would take the part for the answer."""
    world = judged_world(tmp_path)
    async with world.gateway() as gateway:
        assert gateway.evaluations is not None
        submitter = gateway.evaluations.submitter
        await asked(world, gateway)
        (task,) = tasks(world)
        stored: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        stored.set_result(True)
        answered = submitting.Answered(
            task.plan, "0193a9a1-0000-7000-8000-000000000001", "public", task.body,
            (AnswerChoice("the end", complete=False, tool_calls=(ToolCall("look", "{}"),)),),
            world.records[0].outcome, stored,
        )  # fmt: skip
        submitter.offer(answered)
        await until(lambda: Result.TOO_LONG in counts(world))
        assert len(tasks(world)) == 1


async def test_a_fault_in_one_task_leaves_the_next_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop goes on; the fault is logged without the prompt."""
    world = judged_world(tmp_path)
    broken = [True]
    made = reservation

    def breaks(*arguments: Any, **named: Any) -> int:
        if broken.pop() if broken else False:
            raise ZeroDivisionError
        return made(*arguments, **named)

    monkeypatch.setattr(submitting, "reservation", breaks)
    with capture_logs() as logs:
        async with world.gateway() as gateway:
            await asked(world, gateway, 2, text="a secret")
    assert counts(world) == {Result.FAILED: 1, Result.SUBMITTED: 1}
    assert "secret" not in str(logs)
    assert any(line["event"] == "an evaluation could not be submitted" for line in logs)


async def test_what_waits_is_bounded(tmp_path: Path) -> None:
    """While Redis is slow to take records, requests are answered and their evaluations are dropped."""
    world = judged_world(tmp_path)
    async with world.gateway() as gateway:
        assert gateway.evaluations is not None
        submitter = gateway.evaluations.submitter
        await asked(world, gateway)
        (task,), outcome = tasks(world), world.records[0].outcome
        never: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        for _ in range(submitting.MAX_WAITING + 5):
            submitter.offer(submitting.Answered(task.plan, "x", "public", {}, (), outcome, never))
            await asyncio.sleep(0)
        assert counts(world)[Result.BUSY] in (4, 5), "one may be in the loop's hands"
        never.cancel()


async def test_the_days_spending_is_shown(tmp_path: Path) -> None:
    """That of all gateways, reservations included."""
    world = judged_world(tmp_path)
    async with world.gateway() as gateway:
        assert gateway.evaluations is not None
        await asked(world, gateway)
        await gateway.evaluations.submitter.refresh()
        spent = tasks(world)[0].reserved_nano_usd / 1e9
        assert world.counted("evaluation_spent") == pytest.approx(spent)
        assert gateway.evaluations.submitter.view() == {
            "judge": "v/judge",
            "trouble": None,
            "spent_usd": pytest.approx(spent),
            "budget_usd": 1.0,
            "waiting": 1,
            "oldest_s": 0.0,
        }


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"JUDGE_MODEL": "v/none"}, "the upstream does not list JUDGE_MODEL"),
        ({}, "the price of JUDGE_MODEL is unknown"),
    ],
)
async def test_a_judge_that_cannot_work_is_named_once(tmp_path: Path, settings: dict[str, str], words: str) -> None:
    """An operator who set it wants to know; and that it works again."""
    world = judged_world(tmp_path, changed("v/judge", price=None), **settings)
    with capture_logs() as logs:
        async with world.gateway() as gateway:
            assert gateway.evaluations is not None
            for _ in range(2):
                await gateway.evaluations.submitter.refresh()
            assert words in gateway.evaluations.submitter.view()["trouble"]
            world.upstream.arms = (*ARMS, JUDGE, replace(JUDGE, id="v/none"))
            await gateway.catalogue.refresh()
            await gateway.evaluations.submitter.refresh()
    said = [line["event"] for line in logs if "evaluat" in line["event"]]
    assert len(said) == 2
    assert words in said[0]
    assert said[1] == "evaluations are possible"
