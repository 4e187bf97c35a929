"""Which requests are evaluated, and by which models."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from services.gateway.evaluation.planner import MAX_BODY_BYTES
from services.gateway.evaluation.results import Result
from shared.bandit.decision import Weights
from shared.bandit.racing import EvaluationReason
from shared.errors import UpstreamError, UpstreamFailed
from shared.schemas.records import Status
from tests.support.fakes.chat_model import Reply
from tests.support.fakes.gateway import World, chat, new_request
from tests.support.fakes.sink import FakeSink, begins
from tests.support.fakes.use_cases import complete, open_stream, route
from tests.unit.services.gateway.evaluation.rig import OTHERS, ask, changed, counts, judged_world, tasks

IMAGE = {"type": "image_url", "image_url": {"url": "https://pictures.example/1.png"}}
PARTS = [{"type": "text", "text": "What is it?"}, IMAGE]
WITH_IMAGE: dict[str, Any] = {"messages": [{"role": "user", "content": PARTS}]}


async def settle(world: World) -> None:
    """Let what was offered be submitted."""
    async with asyncio.timeout(5):
        while not tasks(world):  # noqa: ASYNC110 - what is waited for is done by a background loop
            await asyncio.sleep(0.002)


async def test_while_the_best_model_is_not_known_all_others_answer_too(tmp_path: Path) -> None:
    """The plan is recorded with its probability, and the task has all but the model that served."""
    world = judged_world(tmp_path, EVALUATION_MAX_SHARE="1.0")
    async with world.gateway() as gateway:
        served = await ask(gateway)
        await settle(world)
    (record,) = world.records
    assert record.evaluation_plan is not None
    assert (record.evaluation_plan.reason, record.evaluation_plan.probability) == (EvaluationReason.RACE, 1.0)
    assert set(record.evaluation_plan.arms) == OTHERS - {served}
    (task,) = tasks(world)
    assert (task.plan, task.arm, task.request_id) == (record.evaluation_plan, served, record.id)
    assert counts(world) == {Result.SUBMITTED: 1}


async def test_without_a_judge_there_is_nothing(world: World) -> None:
    """No plan, no object for each request, no key in Redis, no count."""
    async with world.gateway() as gateway:
        assert gateway.evaluations is None
        plan = await route(chat(), new_request(), gateway)
        assert plan.evaluation is None
        await complete(plan, gateway)
    assert world.records[0].evaluation_plan is None
    assert (tasks(world), counts(world)) == ([], {})


@pytest.mark.parametrize(
    ("result", "asked"),
    [
        (Result.CLIENT, {"evaluate": False}),
        (Result.CLIENT, {"store": False}),
        (Result.CLIENT, {"provider": {"data_collection": "deny"}}),
        (Result.CLIENT, {"provider": {"zdr": True}}),
        (Result.KEY, {"owner": "0123456789abcdef"}),
        (Result.NAMED_MODEL, {"model": "b/middle"}),
        (Result.TOO_LONG, {"size": MAX_BODY_BYTES + 1}),
        (Result.UNREADABLE, WITH_IMAGE),
        (Result.UNREADABLE, {"text": "word " * 100_000}),
    ],
)
async def test_what_must_not_or_cannot_be_evaluated_is_answered_and_counted(
    tmp_path: Path, result: Result, asked: dict[str, Any]
) -> None:
    """Its prompt goes to nobody else, and its record has no plan."""
    world = judged_world(tmp_path, EVALUATION_OFF_KEYS="0123456789")
    async with world.gateway() as gateway:
        await ask(gateway, **asked)
        assert await ask(gateway), "another request is evaluated"
        await settle(world)
    excluded, other = world.records
    assert (excluded.outcome.status, excluded.evaluation_plan) == (Status.ANSWERED, None)
    assert [task.request_id for task in tasks(world)] == [other.id]
    assert counts(world) == {result: 1, Result.SUBMITTED: 1}


@pytest.mark.parametrize(
    "asked", [{"store": True}, {"provider": {"data_collection": "allow"}}, {"owner": "f0123456789abcde"}]
)
async def test_what_merely_resembles_a_wish_for_privacy_is_none(tmp_path: Path, asked: dict[str, Any]) -> None:
    """The beginning of a key's hash counts, and the value of a wish."""
    world = judged_world(tmp_path, EVALUATION_OFF_KEYS="0123456789")
    async with world.gateway() as gateway:
        await ask(gateway, **asked)
        await settle(world)
    assert counts(world) == {Result.SUBMITTED: 1}


async def test_a_model_that_nothing_can_be_learned_of_is_not_evaluated(tmp_path: Path) -> None:
    """DEFAULT_MODEL serves where the learned state could not be read yet, and may be none of the arms."""
    world = judged_world(tmp_path, SHADOW_MODE="true")
    async with world.gateway() as gateway:
        assert await ask(gateway) == "d/spare"
        gateway.posteriors.snapshot = None
        await ask(gateway)
    assert [record.evaluation_plan for record in world.records] == [None, None]
    assert counts(world) == {}
    world = judged_world(tmp_path, SHADOW_MODE="true", DEFAULT_MODEL="b/middle")
    async with world.gateway() as gateway:
        await ask(gateway)
        await settle(world)
    assert set(tasks(world)[0].plan.arms) == OTHERS - {"b/middle"}


async def test_a_judge_that_sees_images_is_given_them(tmp_path: Path) -> None:
    """Only one whose entry in the list says so."""
    world = judged_world(tmp_path, changed("v/judge", input_modalities=frozenset({"text", "image"})))
    async with world.gateway() as gateway:
        await ask(gateway, **WITH_IMAGE)
        await settle(world)
    assert counts(world) == {Result.SUBMITTED: 1}


async def test_without_a_price_of_the_judge_nothing_is_spent(tmp_path: Path) -> None:
    """No budget could hold."""
    world = judged_world(tmp_path, changed("v/judge", price=None))
    async with world.gateway() as gateway:
        await ask(gateway)
    assert counts(world) == {Result.NO_PRICE: 1}
    assert tasks(world) == []


@pytest.mark.parametrize("hindrance", ["cooling", "private", "no price"])
async def test_models_that_must_not_be_asked_are_not(tmp_path: Path, hindrance: str) -> None:
    """While they cool down, where their upstream is private, and where no budget could hold."""
    listed = {"private": changed("a/small", private=True), "no price": changed("a/small", price=None)}
    settings = {"SHADOW_MODE": "true", "DEFAULT_MODEL": "b/middle"}  # always the same model serves
    world = judged_world(tmp_path, *([listed[hindrance]] if hindrance in listed else []), **settings)
    async with world.gateway() as gateway:
        if hindrance == "cooling":
            gateway.circuit_breakers.cool_down("a/small", 30.0)
        await ask(gateway)
        await settle(world)
    (record,) = world.records
    assert record.evaluation_plan is not None
    assert record.evaluation_plan.arms == ("c/large",)
    assert tasks(world)[0].plan.arms == ("c/large",)


async def test_prompts_of_a_private_model_stay_with_it(tmp_path: Path) -> None:
    """It is not judged, whether it was chosen or came in as a fallback."""
    world = judged_world(tmp_path, *(changed(name, private=True) for name in OTHERS))
    async with world.gateway() as gateway:
        await ask(gateway)
    assert counts(world) == {Result.PRIVATE_MODEL: 1}
    names = {"LLM_MODELS": "b/middle,c/large", "DEFAULT_MODEL": "c/large", "EVALUATION_SHARE": "1"}
    world = judged_world(tmp_path, changed("c/large", private=True), **names)
    world.upstream.tell("b/middle", *(Reply(error=UpstreamError("refused", cool_s=0.0)) for _ in range(50)))
    async with world.gateway() as gateway:
        for _ in range(20):
            assert await ask(gateway) == "c/large"
            world.clock.advance(10.0)
        await asyncio.sleep(0.05)
    assert tasks(world) == []
    assert set(counts(world)) == {Result.PRIVATE_MODEL}
    assert any(record.evaluation_plan is not None for record in world.records), "drawn for the model that failed"


async def test_the_share_bounds_how_many_are_evaluated(tmp_path: Path) -> None:
    """With 0 none is; the share is what the record says."""
    world = judged_world(tmp_path, EVALUATION_MAX_SHARE="0")
    async with world.gateway() as gateway:
        for _ in range(10):
            await ask(gateway)
    assert all(record.evaluation_plan is None for record in world.records)
    world = judged_world(tmp_path, EVALUATION_MAX_SHARE="0.5")
    async with world.gateway() as gateway:
        for _ in range(60):
            await ask(gateway)
    plans = [record.evaluation_plan for record in world.records if record.evaluation_plan is not None]
    assert 12 <= len(plans) <= 48
    assert {plan.probability for plan in plans} == {0.5}


async def test_a_request_without_an_answer_keeps_its_plan_and_is_not_evaluated(tmp_path: Path) -> None:
    """The draw was made; there is nothing to score."""
    world = judged_world(tmp_path)
    world.upstream.default = Reply(error=UpstreamError("refused", status=400))
    async with world.gateway(refreshed=False) as gateway:
        world.upstream.default = Reply()
        await gateway.catalogue.refresh()
        await gateway.posteriors.refresh()
        world.upstream.default = Reply(error=UpstreamError("refused", status=400))
        with pytest.raises(UpstreamFailed):
            await ask(gateway)
        await asyncio.sleep(0.02)
    (record,) = world.records
    assert record.outcome.status is Status.FAILED
    assert record.evaluation_plan is not None
    assert (tasks(world), counts(world)) == ([], {})


async def test_a_stream_is_evaluated_by_its_text(tmp_path: Path) -> None:
    """The client gets the same bytes as without a judge."""
    world = judged_world(tmp_path)
    async with world.gateway() as gateway:
        sink = FakeSink()
        plan = await route(chat(stream=True), new_request(), gateway)
        async with open_stream(plan, gateway, begins(sink)) as opened:
            await opened.pour()
        await settle(world)
    (task,) = tasks(world)
    assert task.answer == world.upstream.default.text
    assert "stream" not in task.body


async def test_the_draw_is_made_while_the_upstream_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes as long as a decision: neither the call waits for it, nor the answer."""
    world = judged_world(tmp_path)
    happened: list[str] = []
    world.upstream.tell("a/small", *(Reply(delay_s=0.05) for _ in range(9)))
    async with world.gateway() as gateway:
        assert gateway.evaluations is not None
        planner = gateway.evaluations._planner
        drawn, begin = planner.plan, world.upstream._begin

        def plan(*arguments: Any) -> Any:
            happened.append("drawn")
            return drawn(*arguments)

        async def called(*arguments: Any) -> Any:
            happened.append("called")
            reply = await begin(*arguments)
            happened.append("answered")
            return reply

        monkeypatch.setattr(planner, "plan", plan)
        monkeypatch.setattr(world.upstream, "_begin", called)
        await ask(gateway, models=["a/small"])
    assert happened == ["called", "drawn", "answered"]


async def test_the_terms_of_the_request_say_what_is_worth_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that weighs quality alone, and the settings for all others."""
    world, used = judged_world(tmp_path, FEEDBACK_WEIGHT="0.5"), []

    def planned(*_: Any, weights: Weights, **__: Any) -> None:
        used.append(weights.quality)

    monkeypatch.setattr("services.gateway.evaluation.planner.plan_evaluation", planned)
    async with world.gateway() as gateway:
        await ask(gateway)
        await ask(gateway, model="auto:best")
    assert used[0] == 0.5
    assert used[1] > 0.5


async def test_a_fault_of_the_plan_costs_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged, and the request has none."""
    world = judged_world(tmp_path)

    def breaks(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("services.gateway.evaluation.planner.plan_evaluation", breaks)
    async with world.gateway() as gateway:
        await ask(gateway)
    assert world.records[0].outcome.status is Status.ANSWERED
    assert world.records[0].evaluation_plan is None
