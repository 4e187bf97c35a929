"""Terms of the caller's own: by policy, body and headers, in chat, dry run and the other dialects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared.schemas.upstream import Usage
from tests.support.fakes.chat_model import Reply
from tests.support.fakes.gateway import World, settings_for
from tests.support.served_gateway import BODY, Client, ask, serving

SMALL, MIDDLE, LARGE = "a/small", "b/middle", "c/large"
CHAT, ROUTE = "/v1/chat/completions", "/v1/route"


def world_of(folder: Path, **settings: object) -> World:
    """Return a gateway whose arms differ in list price alone: 1 to 10 to 100."""
    world = World(settings_for(folder, DEFAULT_MODEL=SMALL, **settings))
    for arm in (SMALL, MIDDLE, LARGE):
        world.upstream.tell(arm, Reply("Lima", Usage(12, 3, 0.0002)))
    return world


async def decided(client: Client, body: dict[str, Any], **headers: str) -> Any:
    status, answer, _ = await ask(client, ROUTE, {**BODY, **body}, **headers)
    assert status == 200, answer
    return answer["decision"]


def weights_of(decision: Any) -> tuple[float, ...]:
    return tuple(decision["weights"][name] for name in ("quality", "latency", "cost"))


async def test_weights_act_at_decision_time_and_are_recorded(tmp_path: Path) -> None:
    """By name, header and body; what is not given stays as the policy, or the settings, say."""
    async with serving(world_of(tmp_path, COST_WEIGHT=-0.3)) as client:
        plain = await decided(client, {})
        assert (weights_of(plain), plain["terms"]) == ((0.6, 0.2, -0.3), "")
        cheap = await decided(client, {"model": "auto:cheap"})
        assert (weights_of(cheap), cheap["terms"]) == ((0.4, 0.0, -0.6), "cheap")
        header = await decided(client, {"model": "auto:cheap"}, x_router_weights="quality=0.9")
        assert (weights_of(header), header["terms"]) == ((0.9, 0.0, -0.6), "cheap+request")
        body = await decided(client, {"router": {"weights": {"latency": 0}}})
        assert (weights_of(body), body["terms"]) == ((0.6, 0.0, -0.3), "request")
        utility = {arm["arm"]: arm["utility"] for arm in cheap["arms"]}
        assert utility[SMALL] > utility[MIDDLE] > utility[LARGE]


async def test_the_answer_is_by_the_terms_and_says_so_in_its_record(tmp_path: Path) -> None:
    """In every dialect; exploration can be refused there, too."""
    world = world_of(tmp_path)
    async with serving(world) as client:
        terms = {"router": {"weights": {"quality": 0, "cost": -1}, "explore": False}}
        for path, body in (
            (CHAT, BODY),
            ("/v1/responses", {"input": "Hi"}),
            ("/v1/messages", BODY),
        ):
            status, _, headers = await ask(client, path, {**body, **terms}, anthropic_version="2023-06-01")
            assert (status, headers["x-router-model"], headers["x-router-exploration"]) == (200, SMALL, "off")
        for record in world.records:
            assert record.decision.terms == "request"
            assert record.decision.weights is not None
            assert record.decision.weights.cost == -1.0
        assert all("router" not in call.body for call in world.upstream.calls)


async def test_ceilings_exclude_arms_before_the_draw(tmp_path: Path) -> None:
    """Probabilities are exact over the others; who is out is recorded; fallbacks stay below the ceiling, too."""
    async with serving(world_of(tmp_path)) as client:
        _, answer, _ = await ask(client, ROUTE, {**BODY, "router": {"max_cost_usd": 0.0015}})
        decision = answer["decision"]
        assert decision["unfit"] == [{"arm": LARGE, "feature": "max_cost_usd", "basis": "estimated"}]
        assert f"{LARGE} (max_cost_usd)" in decision["reason"]
        assert LARGE not in answer["order"]
        assert sum(arm["propensity"] for arm in decision["arms"]) == pytest.approx(1)
        by_header = await decided(client, {}, x_router_max_cost_usd="0.0015")
        assert by_header["unfit"] == decision["unfit"]


async def test_the_ceiling_is_compared_with_this_prompt_and_its_longest_answer(tmp_path: Path) -> None:
    """A short answer of a dear model may fit, a long prompt for a cheap one may not."""
    limit = {"router": {"max_cost_usd": 0.0015}}
    async with serving(world_of(tmp_path)) as client:
        assert not (await decided(client, {**limit, "max_tokens": 5}))["unfit"]
        long = {"messages": [{"role": "user", "content": "word " * 2000}]}
        assert [row["arm"] for row in (await decided(client, {**limit, **long}))["unfit"]] == [MIDDLE, LARGE]


@pytest.mark.parametrize("model", ["auto", LARGE])
async def test_nothing_below_the_ceiling_is_an_error_that_names_the_nearest(tmp_path: Path, model: str) -> None:
    """Also for a model that the client names: nothing is called."""
    world = world_of(tmp_path)
    async with serving(world) as client:
        status, answer, _ = await ask(client, CHAT, {**BODY, "model": model, "router": {"max_cost_usd": 1e-7}})
    error = answer["error"]
    assert (status, error["code"], error["param"]) == (400, "no_model_within_limits", "router.max_cost_usd")
    assert f"The nearest is {SMALL if model == 'auto' else LARGE}" in error["message"]
    assert not world.upstream.calls


async def test_required_capabilities_count_as_used(tmp_path: Path) -> None:
    """Without them in the request itself; nothing is learned from what it did not use."""
    world = world_of(tmp_path)
    world.upstream.arms = tuple(
        arm.__class__(arm.id, arm.price, parameters=frozenset({"tools"} if arm.id == MIDDLE else ()))
        for arm in world.upstream.arms
    )
    async with serving(world) as client:
        decision = await decided(client, {"router": {"require": ["tools"]}})
        assert (decision["eligible"], {row["arm"] for row in decision["unfit"]}) == ([MIDDLE], {SMALL, LARGE})
        status, answer, _ = await ask(client, ROUTE, {**BODY, "router": {"require": ["logprobs"]}})
        assert (status, answer["error"]["code"]) == (400, "no_capable_model")


async def test_an_unknown_policy_is_an_error_that_names_those_that_exist(tmp_path: Path) -> None:
    """With the place where it was named; in Anthropic's shape there, too."""
    async with serving(world_of(tmp_path)) as client:
        for body, headers, param in (
            ({"model": "auto:nice"}, {}, "model"),
            ({"router": {"policy": "nice"}}, {}, "router.policy"),
            ({}, {"x_router_policy": "nice"}, "x-router-policy"),
        ):
            status, answer, _ = await ask(client, CHAT, {**BODY, **body}, **headers)
            error = answer["error"]
            assert (status, error["code"], error["param"]) == (404, "policy_not_found", param)
            assert "best, cheap, fast" in error["message"]


async def test_policies_are_listed_as_models(tmp_path: Path) -> None:
    """Clients show that list to their users."""
    async with serving(world_of(tmp_path)) as client:
        _, listed, _ = await ask(client, "/v1/models")
        assert [model["id"] for model in listed["data"]][:5] == ["auto", "auto:best", "auto:cheap", "auto:fast", SMALL]
        assert (await ask(client, "/v1/models/auto:best"))[0] == 200
        assert (await ask(client, "/v1/models/auto:nice"))[0] == 404
