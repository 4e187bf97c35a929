"""Refused features: an arm gets no requests with a feature that it refused lately, while others are left."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import InvalidRequest, Scope, UpstreamError
from tests.support.fakes.chat_model import Reply
from tests.support.fakes.gateway import ARMS, World, chat, new_request
from tests.support.fakes.use_cases import complete, route
from tests.unit.services.gateway.chat.test_eligibility import TOOLLESS, TOOLS, look, served_by, world_of


def unfit(feature: str) -> Reply:
    return Reply(error=UpstreamError("no", status=404, scope=Scope.FIT, feature=feature))


async def test_a_refusal_keeps_an_arm_from_such_requests_and_from_no_others(world: World) -> None:
    """One refusal is enough; the arm is in the draw for everything else, and /health says what it refuses."""
    async with world.gateway() as gateway:
        world.upstream.tell("a/small", unfit("tools"))
        plan = await route(chat(tools=TOOLS, models=["a/small"]), new_request(), gateway)
        with pytest.raises(Exception):  # noqa: B017, PT011 - what is told is another test's
            await complete(plan, gateway)
        views = (await look(gateway, tools=TOOLS)).decision.views
        assert {view.arm for view in views} == {"b/middle", "c/large"}
        assert len((await look(gateway)).decision.views) == 3
        decision = (await look(gateway, tools=TOOLS)).decision
        assert decision.unfit == (("a/small", "tools", "learned"),)
        assert gateway.learned_limits.view("a/small") == {"tools": {"lasts_s": pytest.approx(3600, abs=5)}}
        assert set((await look(gateway, tools=TOOLS)).order) == {"b/middle", "c/large", "d/spare"}


async def test_what_was_learned_can_be_wrong_and_an_answer_clears_it(world: World) -> None:
    """Where all have refused, they are tried all the same; an arm that then answers has the feature after all."""
    async with world.gateway() as gateway:
        asked = chat(tools=TOOLS)
        for arm in ARMS:
            gateway.learned_limits.learn(arm.id, "tools", asked.requirements)
        decision = (await look(gateway, tools=TOOLS)).decision
        assert len(decision.views) == 3
        assert decision.unfit == ()
        answered = await served_by(gateway, tools=TOOLS)
        assert [view.arm for view in (await look(gateway, tools=TOOLS)).decision.views] == [answered]


async def test_what_is_known_is_never_tried(tmp_path: Path) -> None:
    """Learned limits give way before nothing is left; those that the upstream lists do not."""
    world = world_of(tmp_path, *TOOLLESS[:2], TOOLLESS[3])
    async with world.gateway() as gateway:
        gateway.learned_limits.learn("c/large", "tools", chat(tools=TOOLS).requirements)
        assert (await look(gateway, tools=TOOLS)).order == ("c/large", "c/large")
        with pytest.raises(InvalidRequest):
            await look(gateway, tools=TOOLS, models=["a/small"])


async def test_the_last_resort_is_held_to_its_refusals_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets no requests with a feature that it refused, unless no other arm is left; alone it serves all."""
    needs = chat(tools=TOOLS).requirements
    async with world.gateway() as gateway:
        gateway.learned_limits.learn("d/spare", "tools", needs)
        assert set((await look(gateway, tools=TOOLS)).order) == {"a/small", "b/middle", "c/large"}
        gateway.learned_limits.answered("d/spare", needs)
        for arm in ARMS[:3]:
            gateway.learned_limits.learn(arm.id, "tools", needs)
        assert set((await look(gateway, tools=TOOLS)).order) == {"d/spare"}
        monkeypatch.setattr("services.gateway.limits.learned_limits.SHOWN_S", 0.0)  # its answer is too old to count
        gateway.learned_limits.learn("d/spare", "tools", needs)
        assert set((await look(gateway, tools=TOOLS)).order) == {"a/small", "b/middle", "c/large", "d/spare"}


async def test_only_a_refusal_of_the_request_teaches_a_limit(world: World) -> None:
    """A fault of the arm is a fault, whatever words come with it."""
    async with world.gateway() as gateway:
        world.upstream.tell("a/small", *[Reply(error=UpstreamError("no", status=500, feature="tools"))] * 2)
        with pytest.raises(Exception):  # noqa: B017, PT011 - what is told is another test's
            await served_by(gateway, tools=TOOLS, model="a/small")
        assert not gateway.learned_limits
