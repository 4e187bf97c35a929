"""OpenRouter's suffixes, wherever a model is named: the upstream gets the whole name."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.gateway.app import Gateway
from shared.errors import InvalidRequest, NotFound
from tests.support.fakes.gateway import ARMS, World, chat, new_request, settings_for
from tests.support.fakes.use_cases import complete, route
from tests.support.values import replace


async def answered_by(gateway: Gateway, **fields: object) -> str:
    return (await complete(await route(chat("Hello", **fields), new_request(), gateway), gateway)).served.outcome.arm


async def test_a_variant_can_be_pinned_configured_narrowed_and_added(tmp_path: Path) -> None:
    """It is drawn, priced and sent under its own name."""
    world = World(
        settings_for(tmp_path / "spool", LLM_MODELS="a/small:nitro,middle:floor", DEFAULT_MODEL="spare:nitro")
    )
    async with world.gateway() as gateway:
        catalogue = gateway.catalogue
        assert (catalogue.arm_ids, catalogue.default) == (("a/small:nitro", "b/middle:floor"), "d/spare:nitro")
        assert [arm.price for arm in catalogue.arms] == [ARMS[0].price, ARMS[1].price]
        assert await answered_by(gateway, model="c/large:online") == "c/large:online"
        assert await answered_by(gateway, models=["a/small:nitro"]) == "a/small:nitro"
        await gateway.runtime_models.change("large:exacto", wanted=True, by="0123456789abcdef")
        assert catalogue.arm_ids[-1] == "c/large:exacto"
        for name in ("c/large:free", "c/large:nitro:floor", "no/such:nitro"):
            with pytest.raises(NotFound):
                await answered_by(gateway, model=name)
    assert [call.arm for call in world.upstream.calls] == ["c/large:online", "a/small:nitro"]


async def test_a_variant_can_do_what_its_model_can(tmp_path: Path) -> None:
    """It is left out for the same reasons."""
    world = World(settings_for(tmp_path / "spool", LLM_MODELS="a/small:nitro,b/middle"))
    world.upstream.arms = (replace(ARMS[0], max_output_tokens=10), *ARMS[1:])
    async with world.gateway() as gateway:
        assert {await answered_by(gateway, max_tokens=11) for _ in range(20)} == {"b/middle"}
        with pytest.raises(InvalidRequest):
            await answered_by(gateway, max_tokens=11, models=["a/small:nitro"])


async def test_a_choice_among_providers_narrows_to_its_model(tmp_path: Path) -> None:
    """The exact name goes first; `:online` is more than a choice, and another model's name stays unknown."""
    world = World(settings_for(tmp_path / "spool", LLM_MODELS="a/small,b/middle:floor,c/large,c/large:nitro"))
    async with world.gateway() as gateway:
        assert await answered_by(gateway, models=["a/small:nitro"]) == "a/small"
        assert await answered_by(gateway, models=["b/middle"]) == "b/middle:floor"
        assert {await answered_by(gateway, models=["c/large:nitro"]) for _ in range(10)} == {"c/large:nitro"}
        with pytest.raises(NotFound):
            await answered_by(gateway, models=["a/small:online"])
