"""Models without a list price: MODEL_PRICES, and what is reported where the cost is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from shared.bandit.arms import Arm, Price
from shared.schemas.upstream import Usage
from tests.support.fakes.chat_model import FakeChatModel, Reply
from tests.support.fakes.gateway import ARMS, World, chat, new_request, settings_for
from tests.support.fakes.use_cases import complete, route
from tests.support.served_gateway import BODY, Client, ask, serving
from tests.support.values import replace

WARNING = "models have no list price"
UNPRICED = tuple(replace(arm, price=None) for arm in ARMS)
TOKENS = Usage(100_000, 100_000, None)


def world_of(folder: Path, arms: Sequence[Arm] = UNPRICED, **settings: object) -> World:
    """Return a gateway whose upstream lists `arms`, and reports tokens but no cost."""
    return World(settings_for(folder / "spool", **settings), upstream=FakeChatModel(tuple(arms), Reply(usage=TOKENS)))


async def prices(client: Client) -> dict[str, Any]:
    part: dict[str, Any] = (await ask(client, "/health"))[1]["parts"]["prices"]
    return part


async def test_given_prices_are_used_everywhere(tmp_path: Path) -> None:
    """By bill, budget, default model and policy; a short name will do, and a given price goes before a listed one."""
    given = "small=1:2,b/middle=3:4,c/large=5:6,d/spare=0:0"
    world = world_of(tmp_path, (*UNPRICED[:1], *ARMS[1:]), MODEL_PRICES=given, BUDGET_USD_PER_DAY=0.5)
    async with serving(world) as client:
        assert (await prices(client))["status"] == "ok"
        status, _, headers = await ask(client, "/v1/chat/completions", {**BODY, "model": "a/small"}, X_Request_ID="one")
        assert (status, headers["x-router-cost-usd"]) == (200, "0.300000000")
        assert float(headers["x-ratelimit-remaining-usd"]) < 0.5
        story = (await ask(client, "/requests/one"))[1]
        assert (story["outcome"]["cost_usd"], story["outcome"]["cost_source"]) == (pytest.approx(0.3), "price")
        dry = (await ask(client, "/route", BODY))[1]
        costs = {view["arm"]: view["cost_usd"] for view in dry["decision"]["arms"]}
        assert costs["b/middle"] / costs["a/small"] == pytest.approx(7 / 3, rel=0.2)
        assert (await ask(client, "/v1/chat/completions", {**BODY, "model": "a/small"}))[0] == 200
        assert (await ask(client, "/v1/chat/completions", {**BODY, "model": "a/small"}))[0] == 429


async def test_an_unknown_cost_is_null_and_the_budget_says_that_it_cannot_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No header; null in record and numbers; one warning that names the models, the settings and the remedy."""
    world = world_of(tmp_path, BUDGET_USD_PER_DAY=0.01, COST_WEIGHT=0)
    async with serving(world) as client:
        for number in range(3):
            named = f"no-{number}"
            status, _, headers = await ask(client, "/v1/chat/completions", BODY, X_Request_ID=named)
            assert status == 200
            assert "x-router-cost-usd" not in headers
        story, numbers = (await ask(client, "/requests/no-1"))[1], (await ask(client, "/metrics/no-1"))[1]
        assert story["outcome"]["cost_usd"] is numbers["cost_usd"] is None
        assert numbers["cost_source"] == "unknown"
        part = await prices(client)
    assert part["status"] == "degraded"
    said = [line for line in capsys.readouterr().out.splitlines() if WARNING in line]
    assert len(said) == 1
    for words in (*(arm.id for arm in UNPRICED), "BUDGET_USD_PER_DAY", "MODEL_PRICES"):
        assert words in said[0]
        assert words in part["detail"]
    assert "COST_WEIGHT" not in part["detail"]


@pytest.mark.parametrize(
    ("settings", "status", "named"),
    [
        ({"COST_WEIGHT": 0}, "ok", None),
        ({}, "ok", "COST_WEIGHT"),
        ({"EXPLORATION_BUDGET_USD": 1}, "degraded", "EXPLORATION_BUDGET_USD"),
        ({"EXPLORATION_BUDGET_USD": 0, "COST_WEIGHT": 0}, "ok", None),
        ({"KEY_LIMITS": "01234567:usd=0.5", "COST_WEIGHT": 0}, "degraded", "KEY_LIMITS"),
        ({"KEY_LIMITS": "01234567:rpm=5:usd=0", "COST_WEIGHT": 0}, "ok", None),
    ],
)
async def test_only_settings_that_count_costs_need_prices(
    tmp_path: Path, settings: dict[str, Any], status: str, named: str | None
) -> None:
    """A broken promise of a budget is degraded; a weight that has no effect is a detail."""
    async with serving(world_of(tmp_path, **settings)) as client:
        part = await prices(client)
    assert part["status"] == status
    assert (named is None) == (part["detail"] is None)
    assert named is None or named in part["detail"]


async def test_an_upstream_that_reports_costs_needs_no_prices(tmp_path: Path) -> None:
    """Once it has reported one of a model, that model is counted; a cost of 0 is one."""
    world = world_of(tmp_path, BUDGET_USD_PER_DAY=5)
    async with world.gateway() as gateway:
        left = [arm.id for arm in UNPRICED]
        for arm in list(left):
            assert gateway.catalogue.uncounted == tuple(left)
            world.upstream.tell(arm, Reply(usage=TOKENS), Reply(usage=replace(TOKENS, cost_usd=0.0)))
            await complete(await route(chat(model=arm), new_request(), gateway), gateway)
            assert arm in gateway.catalogue.uncounted
            await complete(await route(chat(model=arm), new_request(), gateway), gateway)
            left.remove(arm)
        assert not gateway.catalogue.uncounted


async def test_a_price_of_an_unlisted_model_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It may be misspelt; the good ones count."""
    async with serving(world_of(tmp_path, MODEL_PRICES="a/smal=1:2,b/middle=1:2")) as client:
        detail = (await prices(client))["detail"]
    assert "b/middle" not in detail
    said = [line for line in capsys.readouterr().out.splitlines() if "MODEL_PRICES names models" in line]
    assert len(said) == 1
    assert "a/smal" in said[0]
    assert "b/middle" not in said[0]


async def test_a_model_without_a_price_is_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not with every list that is read; one that is added later is named when it comes."""
    world = world_of(tmp_path, LLM_MODELS="a/small", DEFAULT_MODEL="a/small")
    async with world.gateway() as gateway:
        for _ in range(3):
            await gateway.catalogue.refresh()
        await gateway.runtime_models.change("b/middle", wanted=True, by="me")
        await gateway.catalogue.refresh()
    said = [line for line in capsys.readouterr().out.splitlines() if WARNING in line]
    assert ["b/middle" in line for line in said] == [False, True]


async def test_a_variant_has_its_models_price_or_its_own(tmp_path: Path) -> None:
    """`:online` costs extra, so only a price of its own counts."""
    given = "small=1:2,b/middle=3:4,middle:online=5:6"
    world = world_of(tmp_path, MODEL_PRICES=given, LLM_MODELS="a/small:nitro,a/small:online,b/middle:online")
    async with world.gateway() as gateway:
        prices = {arm.id: arm.price for arm in gateway.catalogue.arms}
        assert prices == {
            "a/small:nitro": Price(1e-6, 2e-6),
            "a/small:online": None,
            "b/middle:online": Price(5e-6, 6e-6),
        }
        assert gateway.catalogue.price("b/middle") == Price(3e-6, 4e-6)
        assert gateway.catalogue.uncounted == ("a/small:online", "d/spare")


async def test_without_a_list_a_given_price_counts(tmp_path: Path) -> None:
    """An upstream may have no list of models at all."""
    world = world_of(tmp_path, (), MODEL_PRICES="a/small=1:2")
    async with world.gateway() as gateway:
        assert gateway.catalogue.price("a/small") == Price(1e-6, 2e-6)
        assert gateway.catalogue.arms[0] == Arm("a/small", Price(1e-6, 2e-6), upstream="openrouter")
        assert gateway.catalogue.price("b/middle") is None
