"""Eligibility: arms that cannot serve a request are excluded before the draw; unknown ones stay in."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from services.gateway.app import Gateway
from services.gateway.chat.selection import Choice
from shared.bandit.arms import Arm
from shared.bandit.decision import DecisionKind
from shared.errors import InvalidRequest, UpstreamError, UpstreamFailed
from shared.schemas.records import RequestRecord
from tests.support.fakes.chat_model import Reply
from tests.support.fakes.gateway import ARMS, World, chat, new_request, settings_for
from tests.support.fakes.use_cases import complete, consider, route
from tests.support.values import replace

IMAGE = [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
FILE = {"role": "user", "content": [{"type": "file", "file": {"file_data": "AA=="}}]}
TEXT, SEES = frozenset({"text"}), frozenset({"text", "image"})
SMALL, MIDDLE, LARGE, SPARE = ARMS


def world_of(folder: Path, *arms: Arm, **settings: object) -> World:
    """A world whose upstream lists `arms` instead of those of the same name."""
    world = World(settings_for(folder / "spool", **settings))
    named = {arm.id: arm for arm in arms}
    world.upstream.arms = tuple(named.get(arm.id, arm) for arm in ARMS)
    return world


def image(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": IMAGE}], **fields}


async def look(gateway: Gateway, **fields: Any) -> Choice:
    asked = chat(**fields)
    return await consider(asked, new_request(), gateway)


async def chances(gateway: Gateway, **fields: Any) -> dict[str, float]:
    """Return the arms that a request may be served by, each with its chance, which is large enough to see it drawn."""
    decision = (await look(gateway, **fields)).decision
    return {view.arm: view.propensity for view in decision.views if view.propensity > 0.01}


async def served_by(gateway: Gateway, **fields: Any) -> str:
    return (await complete(await route(chat(**fields), new_request(), gateway), gateway)).served.outcome.arm


BLIND = tuple(replace(arm, input_modalities=TEXT) for arm in ARMS)
TOOLLESS = tuple(replace(arm, parameters=frozenset({"stop"})) for arm in ARMS)


async def test_an_arm_without_image_input_gets_no_images(tmp_path: Path) -> None:
    """Only the arms that see are drawn from; a request of text alone still goes to all."""
    world = world_of(tmp_path, BLIND[0], replace(MIDDLE, input_modalities=SEES))
    async with world.gateway() as gateway:
        assert {await served_by(gateway, **image()) for _ in range(40)} <= {"b/middle", "c/large"}
        assert set(await chances(gateway, **image())) == {"b/middle", "c/large"}
        assert set(await chances(gateway)) == {"a/small", "b/middle", "c/large"}
        await served_by(gateway)
    seen, plain = world.records[0].decision, world.records[-1].decision
    assert seen.unfit == (("a/small", "image", "known"),)
    assert "a/small (image)" in seen.reason
    assert plain.unfit == ()
    assert RequestRecord.from_json(world.records[0].to_json()) == world.records[0]


async def test_propensities_are_exact_over_the_arms_that_are_left(tmp_path: Path) -> None:
    """The chances are those of the same request narrowed to these arms, sum to 1, and are what is really drawn."""
    world = world_of(tmp_path, BLIND[1])
    async with world.gateway() as gateway:
        narrowed = (await look(gateway, models=["a/small", "c/large"])).decision
        decisions = [(await look(gateway, **image())).decision for _ in range(4000)]
    expected = {view.arm: view.propensity for view in narrowed.views}
    assert sum(expected.values()) == pytest.approx(1.0, abs=1e-9)
    for decision in decisions:
        assert {view.arm: view.propensity for view in decision.views} == pytest.approx(expected)
        assert decision.propensity == pytest.approx(expected[decision.arm])
    drawn = Counter(decision.arm for decision in decisions)
    for arm, chance in expected.items():
        assert drawn[arm] / len(decisions) == pytest.approx(chance, abs=0.04)


async def test_a_fallback_can_serve_the_request_too(tmp_path: Path) -> None:
    """Neither the next ranked arm, nor one that cools down, nor the last resort is known to lack image input."""
    world = world_of(tmp_path, BLIND[0], BLIND[3])
    async with world.gateway() as gateway:
        gateway.circuit_breakers.cool_down("c/large", 30)
        for _ in range(10):
            assert set((await look(gateway, **image())).order) == {"b/middle", "c/large"}
        assert set((await look(gateway)).order) == {"a/small", "b/middle", "c/large", "d/spare"}
        world.upstream.default = Reply(error=UpstreamError("no"))
        with pytest.raises(UpstreamFailed):
            await served_by(gateway, **image())
    assert {call.arm for call in world.upstream.calls} == {"b/middle", "c/large"}


async def test_the_last_resort_serves_alone_where_no_arm_can(tmp_path: Path) -> None:
    """DEFAULT_MODEL can be more capable than the arms that it stands behind."""
    world = world_of(tmp_path, *BLIND[:3])
    async with world.gateway() as gateway:
        assert await served_by(gateway, **image()) == "d/spare"
    decision = world.records[0].decision
    assert (decision.kind, decision.propensity, decision.ranked) == (DecisionKind.DEFAULT, 1.0, ("d/spare",))
    assert [row[0] for row in decision.unfit] == ["a/small", "b/middle", "c/large"]
    assert decision.reason.startswith(
        "No other model can serve the request. Excluded by what the request needs or limits: "
    )


@pytest.mark.parametrize(
    ("arms", "fields", "param", "words"),
    [
        (BLIND, image(), "messages", "image input"),
        (TOOLLESS, {"tools": TOOLS}, "tools", "tools"),
        (TOOLLESS, {"functions": [{"name": "f"}]}, "functions", "tools"),
        (TOOLLESS, {"response_format": {"type": "json_object"}}, "response_format", "response_format"),
        (TOOLLESS, {"logprobs": True}, "logprobs", "logprobs"),
        (TOOLLESS, {"modalities": ["text", "image"]}, None, ""),
        ([replace(arm, output_modalities=TEXT) for arm in ARMS], {"modalities": ["text", "image"]}, "modalities",
         "image output"),
        ([replace(arm, max_output_tokens=500) for arm in ARMS], {"max_tokens": 501}, "max_tokens", "fewer tokens"),
        ([replace(arm, max_output_tokens=500) for arm in ARMS], {"max_tokens": 500}, None, ""),
        ([replace(arm, context_tokens=500) for arm in ARMS], {"text": "word " * 2000}, "messages", "500 tokens"),
        ([replace(arm, context_tokens=500) for arm in ARMS], {"text": "word " * 450}, None, ""),
        ([replace(arm, context_tokens=500) for arm in ARMS], {"text": "word " * 400, "max_tokens": 400}, "max_tokens",
         "fewer tokens"),
    ],
)  # fmt: skip
async def test_where_no_arm_can_the_client_gets_the_missing_feature(
    tmp_path: Path, arms: list[Arm], fields: dict[str, Any], param: str | None, words: str
) -> None:
    """400 that names the field; nothing is asked, reserved or recorded. An estimate alone refuses nothing."""
    world = world_of(tmp_path, *arms)
    async with world.gateway() as gateway:
        if param is None:
            await served_by(gateway, **fields)
            return
        with pytest.raises(InvalidRequest) as caught:
            await route(chat(**fields), new_request("mine"), gateway)
        with pytest.raises(InvalidRequest):
            await look(gateway, **fields)
    assert (caught.value.code, caught.value.param) == ("no_capable_model", param)
    assert words in str(caught.value)
    assert not world.upstream.calls
    assert not world.memory.aliases
    assert not world.records


async def test_a_pinned_model_is_the_upstreams_to_judge(tmp_path: Path) -> None:
    """A client that names a model gets that model, or its provider's reason."""
    world = world_of(tmp_path, *BLIND)
    async with world.gateway() as gateway:
        assert await served_by(gateway, **image(model="a/small")) == "a/small"


async def test_a_narrowed_choice_is_judged_by_itself(tmp_path: Path) -> None:
    """Arms outside of it do not count: neither to serve, nor to be named."""
    world = world_of(tmp_path, BLIND[0])
    async with world.gateway() as gateway:
        for _ in range(10):
            assert await served_by(gateway, **image(models=["a/small", "b/middle"])) == "b/middle"
        with pytest.raises(InvalidRequest, match="image input"):
            await served_by(gateway, **image(models=["a/small"]))


async def test_shadow_mode_answers_with_one_that_can(tmp_path: Path) -> None:
    """DEFAULT_MODEL where it can; else another arm, for certain."""
    for default, expected in ((BLIND[3], "b/middle"), (SPARE, "d/spare")):
        world = world_of(tmp_path / expected[0], BLIND[0], default, SHADOW_MODE="true")
        async with world.gateway() as gateway:
            considered = await look(gateway, **image())
        assert considered.order[0] == expected
        assert considered.decision.propensity == 1.0
        assert considered.shadow is not None
        assert considered.shadow.unfit == considered.decision.unfit == (("a/small", "image", "known"),)


async def test_a_safe_start_does_not_answer_with_one_that_cannot(tmp_path: Path) -> None:
    """The default arm is not drawn for what it cannot do; for all else it is."""
    world = world_of(tmp_path, BLIND[1], DEFAULT_MODEL="b/middle", SAFE_START="true")
    async with world.gateway() as gateway:
        assert {await served_by(gateway) for _ in range(5)} == {"b/middle"}
        assert set(await chances(gateway, **image())) == {"a/small", "c/large"}
        assert {await served_by(gateway, **image()) for _ in range(20)} <= {"a/small", "c/large"}


async def test_a_conversation_leaves_a_model_that_cannot_go_on(tmp_path: Path) -> None:
    """An image in the third turn goes to an arm that sees."""
    world = world_of(tmp_path, BLIND[0], SESSION_MARGIN=2)
    async with world.gateway() as gateway:
        await complete(await route(chat(model="a/small"), new_request(session="talk"), gateway), gateway)
        plan = await route(chat(), new_request(session="talk"), gateway)
        assert (plan.decision.arm, plan.decision.session) == ("a/small", True)
        plan = await route(chat(**image()), new_request(session="talk"), gateway)
        assert plan.decision.arm != "a/small"
        assert not plan.decision.session


async def test_a_tight_prompt_goes_to_the_arm_with_room_and_to_others_only_after_it(tmp_path: Path) -> None:
    """By the cautious estimate 12,000 characters do not fit into 3,000 tokens; they may, so no arm is excluded."""
    tight = replace(SMALL, context_tokens=3000), replace(MIDDLE, context_tokens=3000)
    world = world_of(tmp_path, *tight, replace(LARGE, context_tokens=30_000), replace(SPARE, context_tokens=3000))
    text = "word " * 2400
    async with world.gateway() as gateway:
        considered = await look(gateway, text=text)
        assert considered.order[0] == "c/large"
        assert set(considered.order[1:]) == {"a/small", "b/middle", "d/spare"}
        unfit = considered.decision.unfit
        assert unfit == (("a/small", "context", "estimated"), ("b/middle", "context", "estimated"))
        considered = await look(gateway, text=text, models=["a/small", "b/middle"])
        assert {view.arm for view in considered.decision.views} == {"a/small", "b/middle"}
        assert considered.decision.unfit == ()


@pytest.mark.parametrize("fields", [{"reasoning_effort": "low"}, {"messages": [FILE]}])
async def test_what_upstreams_make_up_for_is_a_preference(tmp_path: Path, fields: dict[str, Any]) -> None:
    """A model that reasons, or reads files, goes first; where there is none, the others answer as before."""
    plain = [replace(arm, parameters=frozenset({"stop"}), input_modalities=TEXT) for arm in ARMS]
    able = replace(MIDDLE, parameters=frozenset({"reasoning"}), input_modalities=frozenset({"text", "file"}))
    async with world_of(tmp_path / "none", *plain).gateway() as gateway:
        assert len((await look(gateway, **fields)).decision.views) == 3
    async with world_of(tmp_path / "one", *plain, able).gateway() as gateway:
        assert [view.arm for view in (await look(gateway, **fields)).decision.views] == ["b/middle"]


async def test_an_estimate_does_not_move_requests_to_the_last_resort(tmp_path: Path) -> None:
    """It may be dear: arms that may have room go before it. Exactly enough room is enough."""
    text = "word " * 400  # 2,000 bytes: 250 tokens at least, 670 at most
    for context, expected in ((250, {"a/small", "b/middle", "c/large"}), (249, {"d/spare"})):
        world = world_of(tmp_path / str(context), *[replace(arm, context_tokens=context) for arm in ARMS[:3]])
        async with world.gateway() as gateway:
            assert {(await look(gateway, text=text)).order[0] for _ in range(30)} <= expected
            assert set(await chances(gateway, text=text)) == expected - {"d/spare"}


async def test_the_error_names_what_most_models_lack(tmp_path: Path) -> None:
    """One of four lacks images, the others lack tools."""
    world = world_of(tmp_path, BLIND[0], *TOOLLESS[1:])
    async with world.gateway() as gateway:
        with pytest.raises(InvalidRequest) as caught:
            await look(gateway, **image(tools=TOOLS))
    assert caught.value.param == "tools"
    assert "image input, tools" in str(caught.value)


async def test_before_anything_is_known_the_clients_own_order_goes_first(tmp_path: Path) -> None:
    """DEFAULT_MODEL has no precedence among the models that a client lists."""
    world = world_of(tmp_path, DEFAULT_MODEL="b/middle")
    async with world.gateway(refreshed=False) as gateway:
        assert (await look(gateway)).order[0] == "b/middle"
        assert (await look(gateway, models=["a/small", "b/middle"])).order[0] == "a/small"
