"""Requests while the upstream account is refused: which arms are called, and which errors clients get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.gateway.app import Gateway
from shared.errors import (
    ClientError,
    InsufficientCredit,
    RateLimited,
    RouterError,
    UpstreamError,
    UpstreamFailed,
)
from tests.support.fakes.chat_model import Reply
from tests.support.fakes.gateway import World, chat, new_request
from tests.support.fakes.sink import FakeSink, begins
from tests.support.fakes.use_cases import complete, open_stream, route
from tests.support.values import replace
from tests.unit.services.gateway.accounts import BUSY, CAPPED, FREE, NO_CREDIT, NO_KEY, TOO_DEAR, world_of


async def ask(gateway: Gateway, **fields: Any) -> str:
    """Return the arms that answered."""
    return (await complete(await route(chat(**fields), new_request(), gateway), gateway)).served.outcome.arm


async def refusal(gateway: Gateway, **fields: Any) -> RouterError:
    with pytest.raises((ClientError, UpstreamError)) as told:
        await ask(gateway, **fields)
    return told.value


# -- the key -----------------------------------------------------------------------------------


async def test_a_refused_key_stops_all_calls_but_not_after_one_request(paid: World) -> None:
    """The first request calls the next arm; after the second no arm is called, and the error names the account."""
    async with paid.gateway() as gateway:
        paid.upstream.default = Reply(error=NO_KEY)
        first = await refusal(gateway)
        assert len(paid.upstream.calls) == 2
        second = await refusal(gateway)
        assert len(paid.upstream.calls) == 3, "the circuit opens with its first call"
        third = await refusal(gateway, model="b/cheap")
        assert len(paid.upstream.calls) == 3
    for told in (first, second, third):
        assert isinstance(told, UpstreamFailed)
        assert "not yours" in str(told)
    assert isinstance(third, UpstreamFailed)
    assert 0 < (third.retry_after_s or 0) <= 5


async def test_one_arm_whose_key_is_refused_harms_no_other(paid: World) -> None:
    """A client that names it gets 502; all others are answered."""
    async with paid.gateway() as gateway:
        for _ in range(5):
            paid.upstream.tell("a/dear", Reply(error=NO_KEY))
            assert isinstance(await refusal(gateway, model="a/dear"), UpstreamFailed)
        assert await ask(gateway, model="b/cheap") == "b/cheap"


# -- the credit --------------------------------------------------------------------------------


async def test_a_request_that_is_too_dear_stays_its_own(paid: World) -> None:
    """Asked of all that may be cheaper, told with the reason, and forgotten: no rest, no circuit, no blame."""
    async with paid.gateway() as gateway:
        for _ in range(5):
            paid.upstream.default = Reply(error=TOO_DEAR)
            told = await refusal(gateway, max_tokens=60_000)
            assert (told.status, told.relay) == (402, TOO_DEAR.relay)  # type: ignore[attr-defined]
        assert {call.arm for call in paid.upstream.calls} == {"a/dear", "b/cheap"}
        paid.upstream.default = Reply()
        assert not gateway.circuit_breakers.account("a").credit.refused
        assert [gateway.circuit_breakers.cooldown_s(arm) for arm in ("a/dear", "b/cheap")] == [0, 0]


async def test_a_request_that_does_not_fit_takes_no_share_of_the_second_tries(paid: World) -> None:
    """The budget is for an upstream that is down: one client's misfits must not use up what others need."""
    async with paid.gateway() as gateway:
        gateway.retry_budget.retrying = 1_000
        paid.upstream.tell("a/dear", Reply(error=TOO_DEAR))
        plan = replace(await route(chat(), new_request(), gateway), order=("a/dear", "b/cheap"))
        assert (await complete(plan, gateway)).served.outcome.arm == "b/cheap"
        assert gateway.retry_budget.retrying == 1_000


async def test_without_words_a_402_harms_no_smaller_request(paid: World) -> None:
    """A client repeats a request that the credit cannot pay; others, which ask for less, are answered all the time."""
    async with paid.gateway() as gateway:
        for _ in range(10):
            paid.upstream.default = Reply(error=NO_CREDIT)
            assert isinstance(await refusal(gateway, max_tokens=60_000), InsufficientCredit)
            paid.upstream.default = Reply()
            await ask(gateway, max_tokens=5)
        for _ in range(3):
            paid.upstream.default = Reply(error=NO_CREDIT)
            await refusal(gateway, max_tokens=60_000)
        assert gateway.circuit_breakers.account("a").credit.breaker.open
        paid.upstream.default = Reply()
        await ask(gateway, max_tokens=5)
        assert not gateway.circuit_breakers.account("a").credit.breaker.open, "an answer shows that there is credit"


async def test_without_credit_the_client_gets_402_immediately(paid: World) -> None:
    """402 with the account concerned and the time to retry; no arm is called, whether the model is named or not."""
    async with paid.gateway() as gateway:
        paid.upstream.default = Reply(error=NO_CREDIT)
        for _ in range(2):
            told = await refusal(gateway)
            assert isinstance(told, InsufficientCredit)
            assert "no credit here" in str(told)
        calls = len(paid.upstream.calls)
        for fields in ({}, {"model": "a/dear"}):
            told = await refusal(gateway, **fields)
            assert isinstance(told, InsufficientCredit)
            assert 0 < (told.retry_after_s or 0) <= 5
        assert len(paid.upstream.calls) == calls


@pytest.mark.parametrize("error", [TOO_DEAR, NO_CREDIT], ids=["too dear", "no credit"])
async def test_after_a_402_cheaper_arms_are_called_first(tmp_path: Path, error: UpstreamError) -> None:
    """A free arm answers requests without credit, whole and streamed."""
    world = world_of(tmp_path, "a/dear,b/cheap,c/gift", "a/dear")
    async with world.gateway() as gateway:
        for stream in (False, True):
            plan = replace(
                await route(chat(stream=stream), new_request(), gateway), order=("a/dear", "b/cheap", "c/gift")
            )
            world.upstream.calls.clear()
            world.upstream.tell("a/dear", Reply(error=error))
            if stream:
                async with open_stream(plan, gateway, begins(FakeSink())) as opened:
                    assert opened.arm == "c/gift"
            else:
                assert (await complete(plan, gateway)).served.outcome.arm == "c/gift"
            assert [call.arm for call in world.upstream.calls] == ["a/dear", "c/gift"]


async def test_free_models_go_on_without_credit(defaults: World) -> None:
    """Free models that fail now and then, a last resort without credit: every client that can be is answered."""
    async with defaults.gateway() as gateway:
        for number in range(40):
            for arm in FREE:
                if number % 3 == 0:
                    defaults.upstream.tell(arm, Reply(error=UpstreamError("no", status=429, cool_s=0.0)))
            defaults.upstream.tell("a/dear", Reply(error=NO_CREDIT))
            if number % 3 == 0:  # both: that passes, and missing credit does not
                assert isinstance(await refusal(gateway), RateLimited)
            else:
                assert await ask(gateway) in FREE
            defaults.upstream.forget()


async def test_a_last_resort_without_credit_comes_after_free_models_that_cool_down(defaults: World) -> None:
    """One model that costs money opens no circuit, but after two refusals a free one that cools down comes first."""
    async with defaults.gateway() as gateway:
        for arm in FREE:
            gateway.circuit_breakers.cool_down(arm, 30.0)
        defaults.upstream.tell("a/dear", *[Reply(error=NO_CREDIT)] * 99)
        assert {await ask(gateway) for _ in range(10)} <= set(FREE)
        assert sum(call.arm == "a/dear" for call in defaults.upstream.calls) == 2


async def test_the_credits_circuit_never_touches_free_arms(tmp_path: Path) -> None:
    """While it is open, models that cost money are not drawn, and stand behind the others."""
    world = world_of(tmp_path, "a/dear,b/cheap,c/gift," + FREE[0], "a/dear")
    async with world.gateway() as gateway:
        for number, arm in enumerate(("a/dear", "b/cheap")):
            gateway.circuit_breakers.failed(arm, NO_CREDIT, request=str(number), tokens=1)
        world.upstream.tell("a/dear", *[Reply(error=NO_CREDIT)] * 99)
        asked = [await ask(gateway) for _ in range(20)]
        assert set(asked) == {"c/gift", FREE[0]}
        assert {call.arm for call in world.upstream.calls} == {"c/gift", FREE[0]}
        plan = await route(chat(), new_request(), gateway)
        assert plan.order[2:] == ("a/dear", "b/cheap") or plan.order[2:] == ("a/dear",)


# -- the limit of the free models ---------------------------------------------------------------


async def test_a_limit_of_the_free_models_is_met_once(defaults: World) -> None:
    """The one that costs money answers, and no free one is asked until the reset."""
    async with defaults.gateway() as gateway:
        for arm in FREE:
            defaults.upstream.tell(arm, *[Reply(error=CAPPED)] * 9)
        assert [await ask(gateway) for _ in range(9)] == ["a/dear"] * 9
        assert sum(call.arm in FREE for call in defaults.upstream.calls) == 1
        assert gateway.circuit_breakers.cooldown_s(FREE[0]) == pytest.approx(600, abs=5)


async def test_where_only_free_models_are_left_the_client_gets_the_time_to_retry(defaults: World) -> None:
    """429 with the time of the reset; no arm is called again, except one that the client names."""
    async with defaults.gateway() as gateway:
        for arm in FREE:
            defaults.upstream.tell(arm, *[Reply(error=CAPPED)] * 9)
        defaults.upstream.tell("a/dear", *[Reply(error=NO_CREDIT)] * 99)
        for _ in range(3):
            told = await refusal(gateway, models=list(FREE))
            assert isinstance(told, RateLimited)
            assert 590 < (told.retry_after_s or 0) <= 600
        assert len(defaults.upstream.calls) == 1
        told = await refusal(gateway)
        assert isinstance(told, RateLimited), "missing credit lasts, this passes"
        calls = len(defaults.upstream.calls)
        assert isinstance(await refusal(gateway, model=FREE[0]), RateLimited)
        assert len(defaults.upstream.calls) == calls + 1


async def test_a_busy_free_model_cools_down_alone(defaults: World) -> None:
    """A 429 of another kind is its own."""
    async with defaults.gateway() as gateway:
        gateway.circuit_breakers.failed(FREE[0], BUSY)
        assert [gateway.circuit_breakers.cooldown_s(arm) > 0 for arm in FREE] == [True, False]
