"""`LLM_MODELS=free`, and a DEFAULT_MODEL that the upstream has given up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from services.gateway.app import Gateway
from shared.bandit.arms import Arm, Price
from shared.errors import Unavailable, UpstreamError
from tests.support.fakes.chat_model import Reply
from tests.support.fakes.gateway import World, chat, new_request, settings_for
from tests.support.fakes.use_cases import complete, route

ZERO = Price(0.0, 0.0)
DEAR = Price(3e-6, 15e-6)
FREE = tuple(Arm(f"p{number}/free-{number}", ZERO, created=1e9 + number) for number in range(10))
NEWEST = tuple(arm.id for arm in FREE[:1:-1])
SONNET = Arm("anthropic/claude-sonnet-4.5", DEAR, created=2e9)
LISTED = (*FREE, SONNET, Arm("openai/gpt-5", DEAR), Arm("openrouter/auto"))


def world_of(folder: Path, *listed: Arm, **settings: str) -> World:
    world = World(settings_for(folder, LLM_MODELS="free", DEFAULT_MODEL="claude-3.5-sonnet", **settings))
    world.upstream.arms = listed
    return world


def arms(gateway: Gateway) -> tuple[str, ...]:
    return gateway.catalogue.arm_ids


async def read_again(gateway: Gateway, world: World, *listed: Arm) -> None:
    world.upstream.arms = listed
    await gateway.catalogue.refresh()
    await gateway.free_arms.refresh()


async def test_the_eight_newest_free_models_are_the_arms(tmp_path: Path) -> None:
    """The bandit draws among them; the default is the newest of its family, and it alone costs money."""
    world = world_of(tmp_path, *LISTED)
    async with world.gateway() as gateway:
        assert arms(gateway) == NEWEST
        assert len(NEWEST) == 8
        plan = await route(chat(), new_request(), gateway)
        assert {view.arm for view in plan.decision.views} == set(NEWEST)
        assert plan.order[-1] == SONNET.id
        assert world.memory.free_arms == NEWEST


async def test_names_and_free_may_be_mixed(tmp_path: Path) -> None:
    """In the order of LLM_MODELS."""
    world = world_of(tmp_path, *FREE[:2], SONNET)
    world.settings = world.settings.model_copy(update={"LLM_MODELS": (SONNET.id, "free")})
    async with world.gateway() as gateway:
        assert arms(gateway) == (SONNET.id, FREE[1].id, FREE[0].id)


async def test_the_choice_survives_a_restart_and_newer_models_wait(tmp_path: Path) -> None:
    """What was chosen stays while it exists: what was learned of it is worth more than a newer model."""
    world = world_of(tmp_path, *LISTED)
    async with world.gateway():
        pass
    newer = [Arm(f"new{number}/x", ZERO, created=3e9) for number in range(8)]
    world.upstream.arms = (*newer, *LISTED)
    async with world.gateway() as gateway:
        assert arms(gateway) == NEWEST
        await read_again(gateway, world, *newer, *LISTED[1:])
        assert arms(gateway) == NEWEST


async def test_a_model_leaves_after_two_lists_without_it(tmp_path: Path) -> None:
    """One incomplete list changes nothing, not even its price; after the second one the next model takes its place."""
    world = world_of(tmp_path, *LISTED)
    gone, rest = FREE[9], [arm for arm in LISTED if arm != FREE[9]]
    async with world.gateway() as gateway:
        await read_again(gateway, world, *rest)
        assert arms(gateway) == NEWEST
        assert replace(gone, upstream="openrouter") in gateway.catalogue.arms
        await read_again(gateway, world, *LISTED)
        await read_again(gateway, world, *rest)
        assert arms(gateway) == NEWEST, "missing twice, but not twice in a row"
        await read_again(gateway, world, *rest)
        assert arms(gateway) == (*NEWEST[1:], FREE[1].id)
        assert world.memory.free_arms == arms(gateway)


async def test_a_model_that_begins_to_cost_money_leaves_immediately(tmp_path: Path) -> None:
    """A client that asked for free models does not pay."""
    world = world_of(tmp_path, *LISTED)
    async with world.gateway() as gateway:
        await read_again(gateway, world, Arm(FREE[9].id, DEAR), *LISTED[:9], SONNET)
        assert FREE[9].id not in arms(gateway)
        assert FREE[1].id in arms(gateway)


async def test_a_list_with_none_of_them_is_another_upstream_s(tmp_path: Path) -> None:
    """The choice begins anew, immediately."""
    world = world_of(tmp_path, *LISTED)
    async with world.gateway() as gateway:
        await read_again(gateway, world, Arm("other/model", ZERO))
        assert arms(gateway) == ("other/model",)


async def test_gateways_share_one_choice(tmp_path: Path) -> None:
    """The second one takes over what the first one has chosen, though a newer model is in its own list by now."""
    one, two = world_of(tmp_path / "1", *LISTED), world_of(tmp_path / "2", Arm("new/x", ZERO, created=3e9), *LISTED)
    two.memory = one.memory
    async with one.gateway() as first, two.gateway(refreshed=False) as second:
        await second.catalogue.refresh()
        assert arms(second)[0] == "new/x"
        await second.free_arms.refresh()
        assert arms(second) == arms(first) == NEWEST
        rest = [arm for arm in LISTED if arm != FREE[9]]
        for _ in range(2):
            await read_again(second, two, *rest)
        await first.free_arms.refresh()
        assert arms(first) == arms(second) == (*NEWEST[1:], FREE[1].id)


async def test_while_redis_is_away_the_own_choice_serves_and_is_written_later(tmp_path: Path) -> None:
    """What is remembered goes before it, once it can be read."""
    world = world_of(tmp_path, *LISTED)
    async with world.gateway(refreshed=False) as gateway:
        await gateway.catalogue.refresh()
        assert arms(gateway) == NEWEST
        await gateway.free_arms.refresh()
        assert world.memory.free_arms == NEWEST
        world.memory.free_arms = ()
        await gateway.free_arms.refresh()
        await gateway.free_arms.refresh()
        assert world.memory.free_arms == NEWEST, "a Redis that has lost it gets it back"


async def test_runtime_changes_are_the_last_word(tmp_path: Path) -> None:
    """A free model that was taken out stays out, and an added one is an arm beside them."""
    world = world_of(tmp_path, *LISTED)
    async with world.gateway() as gateway:
        await gateway.runtime_models.change(NEWEST[0], wanted=False, by="me")
        await gateway.runtime_models.change("openai/gpt-5", wanted=True, by="me")
        await read_again(gateway, world, *LISTED)
        assert arms(gateway) == (*NEWEST[1:], "openai/gpt-5")
        assert gateway.catalogue.removed == (NEWEST[0],)


async def test_without_a_list_the_default_model_answers_alone_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No list at all, a list without prices, or nothing free: a warning, and an answer."""
    world = world_of(tmp_path, Arm("anthropic/claude-3.5-sonnet"))
    async with world.gateway(refreshed=False) as gateway:
        world.upstream.default = Reply(error=UpstreamError("no list"))
        with pytest.raises(UpstreamError):
            await gateway.catalogue.refresh()
        assert arms(gateway) == ("claude-3.5-sonnet",)
        world.upstream.default = Reply()
        assert (
            await complete(await route(chat(), new_request(), gateway), gateway)
        ).served.outcome.arm == "claude-3.5-sonnet"
        await gateway.catalogue.refresh()
        assert arms(gateway) == ("anthropic/claude-3.5-sonnet",)
    said = [line for line in capsys.readouterr().out.splitlines() if "no free model is known" in line]
    assert len(said) == 2, said
    assert all("only the models in `used` answer" in line for line in said)


async def test_a_warning_says_so_where_nothing_can_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With DEFAULT_MODEL=free there is nothing that could stand in. What was learned is read all the same."""
    world = world_of(tmp_path, Arm("anthropic/claude-3.5-sonnet"))
    world.settings = world.settings.model_copy(update={"DEFAULT_MODEL": "free"})
    async with world.gateway() as gateway:
        await gateway.posteriors.refresh()
    assert "no free model is known, and no other is named, so chat gets 503" in capsys.readouterr().out


async def test_default_model_may_be_free_too(tmp_path: Path) -> None:
    """Nothing costs money then; where no model is known at all, 503 says what to do."""
    world = world_of(tmp_path, *LISTED)
    world.settings = world.settings.model_copy(update={"DEFAULT_MODEL": "free"})
    async with world.gateway(refreshed=False) as gateway:
        with pytest.raises(Unavailable, match="LLM_MODELS") as caught:
            await route(chat(), new_request(), gateway)
        assert caught.value.code == "no_models"
        await gateway.catalogue.refresh()
        assert gateway.catalogue.default == NEWEST[0]
        assert SONNET.id not in (await route(chat(), new_request(), gateway)).order


async def test_the_newest_of_the_family_stands_in_for_the_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log names both and the price; a client that names the configured one gets the stand-in."""
    world = world_of(tmp_path, *LISTED, Arm("anthropic/claude-3-sonnet", DEAR, created=1.0))
    async with world.gateway() as gateway:
        assert gateway.catalogue.default == SONNET.id
        assert gateway.catalogue.pin("claude-3.5-sonnet") == SONNET.id
        assert gateway.catalogue.unlisted == ("claude-3.5-sonnet",)
        for _ in range(3):
            await gateway.catalogue.refresh()
    lines = [line for line in capsys.readouterr().out.splitlines() if "replaces it" in line]
    assert len(lines) == 1, "said once, not with every list"
    assert SONNET.id in lines[0]
    assert "3 prompt, 15 completion" in lines[0]


async def test_a_default_without_a_relative_is_said_to_be_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The arms serve without it."""
    world = world_of(tmp_path, *FREE)
    async with world.gateway() as gateway:
        assert gateway.catalogue.default is None
        assert arms(gateway) == NEWEST
        assert gateway.catalogue.unlisted == ("claude-3.5-sonnet",)
    assert "nor is one of its family" in capsys.readouterr().out


async def test_a_listed_default_is_left_alone(tmp_path: Path) -> None:
    """However old it is."""
    old = Arm("anthropic/claude-3.5-sonnet", DEAR, created=1.0)
    async with world_of(tmp_path, *LISTED, old).gateway() as gateway:
        assert gateway.catalogue.default == old.id
        assert gateway.catalogue.unlisted == ()
        assert not gateway.catalogue.default_replaced


def test_the_choice_is_no_setting(tmp_path: Path) -> None:
    """The hash in every record names the settings, and these say `free`, whatever that stands for today."""
    one, two = (settings_for(tmp_path, LLM_MODELS=models) for models in ("free", "free,a/small"))
    assert one.decisive_hash() == settings_for(tmp_path, LLM_MODELS="free").decisive_hash() != two.decisive_hash()
    assert json.dumps(one.LLM_MODELS) == '["free"]'


async def test_a_start_logs_the_choice_in_one_line_and_changes_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No model has joined at a start: the choice is what it was, or the first one."""
    world = world_of(tmp_path, *LISTED)
    for _ in range(2):
        async with world.gateway():
            pass
        (line,) = [line for line in capsys.readouterr().out.splitlines() if "free models chosen" in line]
        assert "number=8" in line
        assert "joined" not in line
    async with world.gateway() as gateway:
        capsys.readouterr()
        for _ in range(2):
            await read_again(gateway, world, *LISTED[:9], *LISTED[10:])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "free models chosen" in line]
    assert f"left=['{FREE[9].id}']" in line
