"""A tool's result goes back to the model that made the call, without any id of the conversation from the client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.gateway.app import Gateway
from shared.bandit.decision import Decision, DecisionKind
from shared.errors import UpstreamError
from tests.support.fakes.chat_model import Reply
from tests.support.fakes.gateway import ARMS, World, chat, new_request, settings_for
from tests.support.fakes.sink import FakeSink, begins
from tests.support.fakes.use_cases import complete, open_stream, route
from tests.support.values import replace

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
USER = {"role": "user", "content": "What is the weather in Lima?"}


def step(number: int, user: dict[str, Any] = USER) -> dict[str, Any]:
    """A request that brings the result of the call of step `number`, and of all before it."""
    messages = [user]
    for call in range(number + 1):
        function = {"name": "f", "arguments": "{}"}
        called = [{"id": f"call_{call}", "type": "function", "function": function}]
        messages += [{"role": "assistant", "content": None, "tool_calls": called}]
        messages += [{"role": "tool", "tool_call_id": f"call_{call}", "content": "sunny"}]
    return {"messages": messages, "tools": TOOLS}


async def begin(world: World, gateway: Gateway, arm: str, *, stream: bool = False, **who: Any) -> None:
    """Let `arm` answer the user's turn with the call `call_0`."""
    world.upstream.tell(arm, Reply(calls=("call_0",)))
    plan = await route(chat(messages=[USER], tools=TOOLS, model=arm, stream=stream), new_request(**who), gateway)
    if not stream:
        await complete(plan, gateway)
        return
    async with open_stream(plan, gateway, begins(FakeSink())) as opened:
        await opened.pour()


async def decided(gateway: Gateway, *, number: int = 0, **who: Any) -> Decision:
    return (await route(chat(**step(number)), new_request(**who), gateway)).decision


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("arm", ["a/small", "c/large"])
async def test_a_result_goes_to_the_arm_that_made_the_call(world: World, arm: str, stream: bool) -> None:
    """Whatever is believed of it, with propensity 1; the record says that it was held."""
    async with world.gateway() as gateway:
        await begin(world, gateway, arm, stream=stream)
        for _ in range(20):
            decision = await decided(gateway)
            assert (decision.arm, decision.propensity, decision.session) == (arm, 1.0, True)
            assert {view.arm: view.propensity for view in decision.views}[arm] == 1.0
            assert sum(view.propensity for view in decision.views) == 1.0
            assert "tool call" in decision.reason


async def test_a_turn_is_decided_once_however_many_steps_it_has(world: World) -> None:
    """Each step's call is remembered in its turn; the user's next message is decided anew."""
    async with world.gateway() as gateway:
        await begin(world, gateway, "c/large")
        for number in range(5):
            world.upstream.tell("c/large", Reply(calls=(f"call_{number + 1}",)))
            done = await complete(await route(chat(**step(number)), new_request(), gateway), gateway)
            assert done.served.outcome.arm == "c/large"
        asked: dict[str, Any] = {
            "messages": [*step(5)["messages"], {"role": "user", "content": "And in Cusco?"}],
            "tools": TOOLS,
        }
        decisions = [(await route(chat(**asked), new_request(), gateway)).decision for _ in range(20)]
        assert not any(decision.session for decision in decisions)
        assert len({decision.arm for decision in decisions}) > 1


async def test_a_loop_moves_with_the_arm_that_stepped_in(world: World) -> None:
    """After a fallback the calls are those of the arm that answered."""
    async with world.gateway() as gateway:
        await begin(world, gateway, "c/large")
        world.upstream.tell("c/large", Reply(error=UpstreamError("no", cool_s=30.0)))
        for arm in ("a/small", "b/middle", "d/spare"):
            world.upstream.tell(arm, Reply(calls=("call_1",)))
        moved = (await complete(await route(chat(**step(0)), new_request(), gateway), gateway)).served.outcome.arm
        assert moved != "c/large"
        assert [(await decided(gateway, number=1)).arm for _ in range(10)] == [moved] * 10


async def test_an_arm_that_cools_down_or_cannot_go_on_is_not_held(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the draw decides, over those that can."""
    async with world.gateway() as gateway:
        await begin(world, gateway, "c/large")
        monkeypatch.setattr("services.gateway.limits.learned_limits.SHOWN_S", 0.0)  # its answer is too old to count
        gateway.learned_limits.learn("c/large", "tools", chat(**step(0)).requirements)
        decision = await decided(gateway)
        assert (decision.arm != "c/large", decision.session) == (True, False)
        gateway.learned_limits.answered("c/large", chat(**step(0)).requirements)
        assert (await decided(gateway)).session
        gateway.circuit_breakers.cool_down("c/large", 30.0)
        decision = await decided(gateway)
        assert (decision.arm != "c/large", decision.session) == (True, False)


async def test_who_refuses_the_calls_of_others_keeps_its_own_loops(world: World) -> None:
    """The limit is about ids of other models; answers to its own do not clear it."""
    async with world.gateway() as gateway:
        gateway.learned_limits.learn("c/large", "tool_history", chat(**step(0)).requirements)
        await begin(world, gateway, "c/large")
        done = await complete(await route(chat(**step(0)), new_request(), gateway), gateway)
        assert (done.served.outcome.arm, done.served.decision.session) == ("c/large", True)
        elsewhere = chat(**step(0, {"role": "user", "content": "And in Oslo?"}))
        decision = (await route(elsewhere, new_request(), gateway)).decision
        assert ("c/large", "tool_history", "learned") in decision.unfit


async def test_the_last_resort_keeps_its_loop(world: World) -> None:
    """DEFAULT_MODEL is not in the draw; nothing that was believed belongs to that choice."""
    async with world.gateway() as gateway:
        await begin(world, gateway, "d/spare")
        decision = await decided(gateway)
    assert (decision.arm, decision.propensity, decision.session) == ("d/spare", 1.0, True)
    assert (decision.kind, decision.views) == (DecisionKind.DEFAULT, ())
    assert set(decision.ranked[1:]) == {"a/small", "b/middle", "c/large"}


async def test_other_keys_and_other_conversations_have_loops_of_their_own(world: World) -> None:
    """`call_0` means nothing by itself."""
    async with world.gateway() as gateway:
        await begin(world, gateway, "c/large", owner="mine")
        assert (await decided(gateway, owner="mine")).session
        assert not (await decided(gateway, owner="other")).session
        elsewhere = step(0, {"role": "user", "content": "What is the weather in Oslo?"})
        assert not (await route(chat(**elsewhere), new_request(owner="mine"), gateway)).decision.session


async def test_an_arm_that_the_client_does_not_allow_is_not_held(world: World) -> None:
    """`models` and `model` go first."""
    async with world.gateway() as gateway:
        await begin(world, gateway, "c/large")
        plan = await route(chat(**step(0), models=["a/small", "b/middle"]), new_request(), gateway)
        assert (plan.decision.session, "c/large" in plan.order) == (False, False)
        plan = await route(chat(**step(0), model="a/small"), new_request(), gateway)
        assert (plan.decision.kind, plan.order[0]) == (DecisionKind.PINNED, "a/small")


async def test_a_tight_loop_is_not_moved_by_an_estimate(tmp_path: Path) -> None:
    """Late in a loop the cautious estimate may be beyond the context long before the prompt is."""
    world = World(settings_for(tmp_path / "spool"))
    world.upstream.arms = (*ARMS[:2], replace(ARMS[2], context_tokens=20), ARMS[3])
    async with world.gateway() as gateway:
        await begin(world, gateway, "c/large")
        decision = await decided(gateway)
    assert ("c/large", "context", "estimated") in decision.unfit
    assert (decision.arm, decision.session) == ("c/large", True)


@pytest.fixture
async def both(world: World, tmp_path: Path) -> AsyncIterator[tuple[Gateway, Gateway]]:
    neighbour = World(settings_for(tmp_path / "other", PORT=8099), clock=world.clock)
    neighbour.memory, neighbour.log, neighbour.heartbeats = world.memory, world.log, world.heartbeats
    async with world.gateway() as one, neighbour.gateway() as other:
        yield one, other


async def test_all_gateways_know_the_loop_and_none_needs_redis_to_answer(
    world: World, both: tuple[Gateway, Gateway]
) -> None:
    """A client's next step may come to any of them; without Redis the draw decides."""
    one, other = both
    await begin(world, one, "c/large")
    assert [(await decided(other)).arm for _ in range(10)] == ["c/large"] * 10
    world.memory.away = True
    decision = await decided(other)
    assert (decision.session, decision.degraded) == (False, ("redis",))
    world.memory.away = False


async def test_in_shadow_mode_the_safe_arm_answers_the_tools_too(tmp_path: Path) -> None:
    """It answers everything."""
    world = World(settings_for(tmp_path / "spool", SHADOW_MODE="true"))
    async with world.gateway() as gateway:
        await begin(world, gateway, "c/large")
        assert (await decided(gateway)).arm == "d/spare"
