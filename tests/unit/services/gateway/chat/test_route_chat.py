"""The chat use case: from a request to a recorded answer, also while dependencies are away."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from services.gateway.app import Gateway
from shared.bandit.context import Vector
from shared.bandit.decision import DecisionKind
from shared.errors import (
    Conflict,
    DependencyError,
    InsufficientCredit,
    NotFound,
    RateLimited,
    Scope,
    UpstreamError,
    UpstreamFailed,
)
from shared.schemas.records import Status
from shared.schemas.storage import Point
from tests.support.fakes.chat_model import Reply
from tests.support.fakes.gateway import ARMS, World, chat, new_request
from tests.support.fakes.use_cases import complete, route
from tests.support.values import replace

REFUSED = UpstreamError("refused", cool_s=1.0)
LONG = UpstreamError("busy", status=503, cool_s=30.0)
BROKEN = UpstreamError("broke off", spent=True)


async def answer(world: World, gateway: Gateway, **fields: Any) -> tuple[str, DecisionKind]:
    done = await complete(await route(chat(**fields), new_request(), gateway), gateway)
    return done.served.outcome.arm, done.served.decision.kind


async def test_an_answer_is_recorded_with_its_decision_before_it_is_handed_out(world: World) -> None:
    """When `complete` returns, the record is stored: arm, reason, probability, cost."""
    async with world.gateway() as gateway:
        done = await complete(await route(chat(), new_request("mine"), gateway), gateway)
        (record,) = world.records
    assert record.public_id == "mine"
    assert record.decision.kind is DecisionKind.GLOBAL
    assert set(record.decision.ranked) == {"a/small", "b/middle", "c/large"}
    assert record.outcome.arm == record.decision.arm == done.answer.model
    assert sum(view.propensity for view in record.decision.views) == pytest.approx(1.0, abs=1e-6)
    assert (record.outcome.cost_usd, record.outcome.cost_source) == (0.000_21, "upstream")
    assert record.embedding_model == "fake-256"
    assert not record.decision.degraded


async def test_neighbours_reach_the_decision_and_its_record(world: World) -> None:
    """A labelled similar request is named in the record, with similarity and score."""
    world.learn_a_rating()
    async with world.gateway() as gateway:
        vector: Vector = (await world.embedder.embed(["What is the capital of Peru?"]))[0]
        await world.index.upsert([Point("past", vector, "c/large", world.clock.now(), "public", 0.9)])
        plan = await route(chat(), new_request(), gateway)
    assert plan.decision.searched is True
    ((request_id, similarity, arm, score, _weight),) = plan.decision.neighbours
    assert (request_id, arm, score) == ("past", "c/large", 0.9)
    assert similarity == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("broken", ["embedder", "qdrant", "redis"])
async def test_a_missing_dependency_costs_context_and_is_named(world: World, broken: str) -> None:
    """Chat answers without embedder, Qdrant or Redis, and decision, record and metric name what was missed."""
    world.learn_a_rating()
    async with world.gateway() as gateway:
        if broken == "embedder":
            world.embedder.error = DependencyError("embedder", "away")
        elif broken == "qdrant":
            world.index.available = False
        else:
            world.memory.away = True
        done = await complete(await route(chat(), new_request("mine"), gateway), gateway)
        assert done.served.decision.degraded == (broken,)
        assert done.served.decision.kind is DecisionKind.GLOBAL
        world.memory.away = False
        await gateway.record_writer.replay()
    (record,) = world.records
    assert record.decision.degraded == (broken,)
    assert world.counted("degraded", dependency=broken) == 1


async def test_a_slow_embedder_costs_its_deadline_a_few_times_and_then_nothing(world: World) -> None:
    """After some failures in a row the embedder is skipped, so that a frozen one does not tax every request."""
    world.settings = world.settings.model_copy(update={"EMBED_TIMEOUT_MS": 50})
    async with world.gateway() as gateway:
        world.embedder.delay_s = 60.0
        for _ in range(6):
            plan = await route(chat(), new_request(), gateway)
            assert plan.decision.degraded == ("embedder",)
        started = asyncio.get_running_loop().time()
        await route(chat(), new_request(), gateway)
        assert asyncio.get_running_loop().time() - started < 0.02


async def test_a_vector_of_the_wrong_shape_or_not_finite_is_never_used_nor_stored(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An embedder that lies costs context; its vector reaches neither the policy nor the record."""
    async with world.gateway() as gateway:
        for lie in (np.zeros((1, 3), np.float32), np.full((1, 256), np.nan, np.float32)):

            async def embed(_texts: object, lie: Vector = lie, **_: object) -> Vector:
                return lie

            monkeypatch.setattr(world.embedder, "embed", embed)
            plan = await route(chat(), new_request(), gateway)
            assert plan.gathered.context.vector is None
            assert plan.decision.degraded == ("embedder",)


async def test_without_any_snapshot_the_default_model_answers_and_an_empty_store_is_no_such_case(world: World) -> None:
    """Nothing read: DEFAULT_MODEL. Read and empty: the policy's prior, which explores."""
    async with world.gateway(refreshed=False) as gateway:
        assert await answer(world, gateway) == ("d/spare", DecisionKind.DEFAULT)
    async with world.gateway() as gateway:
        assert (await answer(world, gateway))[1] is DecisionKind.GLOBAL


async def test_a_policy_that_breaks_costs_no_answer(world: World) -> None:
    """Learned state that makes the policy raise falls back to the default model, visibly."""

    class Broken:
        name = "broken"

        def decide(self, *_: object) -> None:
            raise FloatingPointError

    async with world.gateway() as gateway:
        assert gateway.posteriors.snapshot is not None
        gateway.posteriors.snapshot = replace(gateway.posteriors.snapshot, policy=Broken())
        plan = await route(chat(), new_request(), gateway)
    assert plan.decision.kind is DecisionKind.DEFAULT
    assert "policy" in plan.decision.degraded


async def test_a_pinned_model_answers_alone_and_is_recorded_as_pinned(world: World) -> None:
    """A client that names a model gets that one, with or without its provider's name, never another."""
    async with world.gateway() as gateway:
        assert await answer(world, gateway, model="c/large") == ("c/large", DecisionKind.PINNED)
        assert await answer(world, gateway, model="spare") == ("d/spare", DecisionKind.PINNED)
        world.upstream.tell("c/large", Reply(error=LONG), Reply(error=LONG))
        with pytest.raises(UpstreamFailed):
            await answer(world, gateway, model="c/large")
    assert {call.arm for call in world.upstream.calls[2:]} == {"c/large"}
    assert [record.outcome.status for record in world.records][-1] is Status.FAILED


async def test_models_narrow_the_choice_and_its_fallbacks(world: World) -> None:
    """Only the named arms may answer, not even the default model otherwise."""
    async with world.gateway() as gateway:
        plan = await route(chat(models=["a/small", "b/middle"]), new_request(), gateway)
        assert set(plan.decision.ranked) == set(plan.order) == {"a/small", "b/middle"}


@pytest.mark.parametrize(("fields", "words"), [
    ({"model": "x/none"}, "The model does not exist"), ({"models": ["a/small", "x/none"]}, "x/none does not exist"),
    ({"models": ["d/spare"]}, "None of the models"),
])  # fmt: skip
async def test_unknown_models_are_refused_before_anything_is_claimed_or_paid(
    world: World, fields: dict[str, Any], words: str
) -> None:
    """A model that does not exist is 404 and leaves the id free. The message says where to look."""
    async with world.gateway() as gateway:
        with pytest.raises(NotFound) as error:
            await route(chat(**fields), new_request("mine"), gateway)
        assert error.value.code == "model_not_found"
        assert str(error.value).startswith(words)
        assert "GET /v1/models" in str(error.value)
        await route(chat(), new_request("mine"), gateway)
    assert not world.upstream.calls


async def test_a_used_id_is_refused_before_the_upstream_is_called_but_a_failed_one_is_free(
    world: World,
) -> None:
    """One id is never paid twice, and a failure frees it."""
    async with world.gateway() as gateway:
        for arm in ARMS:
            world.upstream.tell(arm.id, Reply(error=UpstreamError("no", try_next=False)))
        with pytest.raises(UpstreamFailed):
            await complete(await route(chat(), new_request("mine"), gateway), gateway)
        world.upstream.forget()
        await complete(await route(chat(), new_request("mine"), gateway), gateway)
        calls = len(world.upstream.calls)
        with pytest.raises(Conflict) as error:
            await route(chat(), new_request("mine"), gateway)
    assert error.value.code == "duplicate_request_id"
    assert len(world.upstream.calls) == calls


async def test_the_next_ranked_arm_answers_and_the_record_credits_it(world: World) -> None:
    """A failure before the first byte goes to the next arm; the answer is a FALLBACK of the arm that gave it."""
    async with world.gateway() as gateway:
        plan = await route(chat(), new_request(), gateway)
        first, second = plan.order[:2]
        world.upstream.tell(first, Reply(error=REFUSED))
        done = await complete(plan, gateway)
        assert done.served.outcome.arm == second
        assert done.served.decision.kind is DecisionKind.FALLBACK
        assert done.served.decision.arm == first
        tried = [(attempt.arm, attempt.error, attempt.spent) for attempt in done.served.outcome.attempts]
        assert tried == [(first, "refused", False), (second, None, True)]
        assert world.counted("fallbacks", arm=first, upstream="openrouter", error="refused") == 1
        # The failed arm rests: it is not even eligible, so that propensities stay true.
        assert first not in (await route(chat(), new_request(), gateway)).decision.ranked


async def test_at_most_four_arms_are_called_and_the_default_is_the_last(world: World) -> None:
    """Attempts are bounded, and the last resort is DEFAULT_MODEL."""
    async with world.gateway() as gateway:
        for arm in ARMS:
            world.upstream.tell(arm.id, Reply(error=REFUSED))
        plan = await route(chat(), new_request(), gateway)
        with pytest.raises(UpstreamFailed):
            await complete(plan, gateway)
    asked = [call.arm for call in world.upstream.calls]
    assert len(asked) == len(set(asked)) == 4
    assert asked[-1] == "d/spare"


async def test_failures_that_may_have_been_billed_are_tried_again_once(world: World) -> None:
    """No client pays for three answers to get one."""
    async with world.gateway() as gateway:
        for arm in ARMS:
            world.upstream.tell(arm.id, Reply(error=BROKEN))
        with pytest.raises(UpstreamFailed):
            await complete(await route(chat(), new_request(), gateway), gateway)
    assert len(world.upstream.calls) == 2
    assert [attempt.spent for attempt in world.records[0].outcome.attempts] == [True, True]


@pytest.mark.parametrize(
    ("failure", "told", "code"),
    [
        (UpstreamError("late", timed_out=True, try_next=False), UpstreamFailed, "upstream_timeout"),
        (UpstreamError("busy", status=429, try_next=False, cool_s=7.0), RateLimited, "upstream_rate_limited"),
        (UpstreamError("no credit", status=402, scope=Scope.CREDIT), InsufficientCredit, "insufficient_credit"),
    ],
)
async def test_the_client_gets_the_meaning_of_the_last_failure(
    world: World, failure: UpstreamError, told: type[Exception], code: str
) -> None:
    """A timeout is one, a rate limit says when to come again, and an account problem of ours stays ours."""
    async with world.gateway() as gateway:
        world.upstream.tell("a/small", Reply(error=failure))
        with pytest.raises(told) as error:
            await complete(await route(chat(model="a/small"), new_request(), gateway), gateway)
    assert error.value.code == code  # type: ignore[attr-defined]


async def test_a_client_that_leaves_while_waiting_stops_the_call_and_is_recorded(world: World) -> None:
    """Cancelling the handler cancels the upstream call and records CANCELLED, although no caller waits for it."""
    async with world.gateway() as gateway:
        world.upstream.default = Reply(delay_s=60.0)
        plan = await route(chat(), new_request(), gateway)
        task = asyncio.create_task(complete(plan, gateway))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert world.upstream.cancelled == 1
    (record,) = world.records
    assert record.outcome.status is Status.CANCELLED
    assert record.outcome.cost_source == "estimate"


async def test_only_names_of_our_own_become_labels(world: World) -> None:
    """A pinned model outside LLM_MODELS counts as `other`: labels are bounded by the settings."""
    world.upstream.arms = (*ARMS, replace(ARMS[0], id="z/exotic"))
    async with world.gateway() as gateway:
        await answer(world, gateway, model="z/exotic")
    assert world.counted("decisions", arm="other", kind="pinned") == 1


async def test_a_fault_of_ours_leaves_the_id_free_and_a_record(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error is recorded as a failure, so that the id can be used again."""

    async def broken(_: object) -> None:
        raise ZeroDivisionError

    async with world.gateway() as gateway:
        monkeypatch.setattr(world.upstream, "complete", broken)
        with pytest.raises(ZeroDivisionError):
            await complete(await route(chat(), new_request("mine"), gateway), gateway)
        monkeypatch.undo()
        await complete(await route(chat(), new_request("mine"), gateway), gateway)
    assert [record.outcome.status for record in world.records] == [Status.FAILED, Status.ANSWERED]
