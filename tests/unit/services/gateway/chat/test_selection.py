"""Conversations, shadow mode, the dry run and the budget for exploring, on the use cases with fakes around them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.gateway.app import Gateway
from services.gateway.chat.conversations import CACHE_S
from services.gateway.chat.selection import Choice
from services.gateway.limits.exploration_budget import ExplorationBudget
from shared.bandit.arms import Price
from shared.bandit.decision import DecisionKind
from shared.clock import utc_day
from shared.errors import DependencyError, NotFound, UpstreamError, UpstreamFailed
from shared.schemas.records import RequestRecord
from shared.schemas.upstream import Usage
from tests.support.fakes.chat_model import Reply
from tests.support.fakes.gateway import World, chat, known, new_request, settings_for
from tests.support.fakes.use_cases import complete, consider, route

WIDE = {"SESSION_MARGIN": 2}
"""Every model is within the margin."""


def world_with(folder: Path, **settings: object) -> World:
    return World(settings_for(folder / "spool", **settings))


async def say(gateway: Gateway, session: str | None = None, *, explore: bool = True, **fields: Any) -> str:
    who = new_request(session=session, explore=explore)
    return (await complete(await route(chat(**fields), who, gateway), gateway)).served.outcome.arm


async def look(gateway: Gateway, **fields: Any) -> Choice:
    asked = chat(**fields)
    return await consider(asked, new_request(), gateway)


# -- conversations -----------------------------------------------------------------------------------------------------


async def test_a_conversation_stays_with_its_model_and_the_record_says_so(tmp_path: Path) -> None:
    """The first turn is drawn, the others are held with propensity 1; another owner's or session's are their own."""
    world = world_with(tmp_path, **WIDE)
    async with world.gateway() as gateway:
        first = await say(gateway, "talk")
        assert [await say(gateway, "talk") for _ in range(20)] == [first] * 20
        others = {await say(gateway, f"other-{number}") for number in range(40)}
        assert len(others) > 1
    begun, *held = [record for record in world.records if record.session == "talk"]
    assert (begun.decision.session, begun.decision.propensity < 1) == (False, True)
    assert {(record.decision.session, record.decision.propensity) for record in held} == {(True, 1.0)}
    assert {record.decision.kind for record in held} == {DecisionKind.GLOBAL}
    assert world.counted("sessions", choice="held") == 20


async def test_a_model_beyond_the_margin_loses_its_conversation(tmp_path: Path) -> None:
    """With a margin of nothing, only the best expected model is held."""
    world = world_with(tmp_path, SESSION_MARGIN=0)
    async with world.gateway() as gateway:
        for _ in range(30):
            await say(gateway, "talk", model="c/large")  # the dear one: never the best from cold
            await say(gateway, "talk")
    held = [record.decision for record in world.records if record.decision.session]
    free = [record.decision for record in world.records if record.decision.kind is DecisionKind.GLOBAL]
    assert not held
    assert Counter(decision.arm for decision in free).keys() > {"a/small"}


@pytest.mark.parametrize(("cached", "age_s", "holds"), [(0, 0, False), (9000, 0, True), (9000, CACHE_S + 1, False)])
async def test_a_prompt_cache_keeps_a_conversation_with_its_model(
    tmp_path: Path, cached: int, age_s: float, holds: bool
) -> None:
    """What it saves makes up for a dear model, while the upstream may still have the prompt."""
    world = world_with(tmp_path, SESSION_MARGIN=0.02)
    dear = replace(world.upstream.arms[2], price=Price(1e-5, 2e-5, cache_read_usd=1e-6))
    world.upstream.arms = (*world.upstream.arms[:2], dear, *world.upstream.arms[3:])
    world.upstream.default = Reply(usage=Usage(10_000, 7, None, cached))
    async with world.gateway() as gateway:
        await say(gateway, "talk", model=dear.id)
        world.clock.advance(age_s)
        plan = await route(chat(), new_request(session="talk"), gateway)
    assert plan.decision.session is holds
    assert ("prompt cache" in plan.decision.reason) is holds


async def test_an_answer_costs_less_for_what_the_upstream_had_in_its_cache(tmp_path: Path) -> None:
    """Where the upstream reports no cost and its price of cached tokens is known."""
    world = world_with(tmp_path)
    price = Price(1e-5, 2e-5, cache_read_usd=1e-6)
    world.upstream.arms = tuple(replace(arm, price=price) for arm in world.upstream.arms)
    world.upstream.default = Reply(usage=Usage(10_000, 0, None, 9_000))
    async with world.gateway() as gateway:
        await say(gateway)
    assert world.records[0].outcome.cost_usd == pytest.approx(1_000 * 1e-5 + 9_000 * 1e-6)


async def test_a_conversation_moves_with_the_model_that_answered_in_place_of_its_own(tmp_path: Path) -> None:
    """After a fallback the conversation is with the one that answered; a resting model is not held."""
    world = world_with(tmp_path, **WIDE)
    async with world.gateway() as gateway:
        first = await say(gateway, "talk")
        world.upstream.tell(first, Reply(error=UpstreamError("refused", cool_s=1000.0)))
        second = await say(gateway, "talk")
        assert second != first
        assert {await say(gateway, "talk") for _ in range(5)} == {second}


async def test_without_redis_a_conversation_is_drawn_and_chat_goes_on(tmp_path: Path) -> None:
    """What cannot be remembered costs the conversation its model, never the answer."""
    world = world_with(tmp_path, **WIDE)
    async with world.gateway() as gateway:
        await say(gateway, "talk")
        world.memory.away = True
        plan = await route(chat(), new_request(session="talk"), gateway)
        assert plan.decision.degraded == ("redis",)
        assert not plan.decision.session
        world.memory.away = False


# -- dry run -----------------------------------------------------------------------------------------------------------


async def test_a_dry_run_decides_as_the_request_would_and_leaves_no_trace(world: World) -> None:
    """The same chances as the chat request, but nothing reserved, asked, recorded or counted."""
    async with world.gateway() as gateway:
        looked = [await look(gateway) for _ in range(60)]
        plan = await route(chat(), new_request("mine"), gateway)
        assert not world.upstream.calls
        assert not world.records
        assert world.memory.aliases.keys() == {("public", plan.request.public_id)}
        expected = {view.arm: view.propensity for view in plan.decision.views}
        for considered in looked:
            assert {view.arm: view.propensity for view in considered.decision.views} == pytest.approx(expected)
            assert considered.order[0] == considered.decision.arm
        assert len({considered.decision.arm for considered in looked}) > 1
        with pytest.raises(NotFound):
            await look(gateway, model="no/such")


# -- shadow mode -------------------------------------------------------------------------------------------------------


async def test_shadow_mode_answers_by_default_and_records_what_would_have_been_chosen(tmp_path: Path) -> None:
    """Every answer is the default model's, for certain; the choice that was not followed has its own chances."""
    world = world_with(tmp_path, SHADOW_MODE="true", DEFAULT_MODEL="b/middle")
    async with world.gateway() as gateway:
        assert {await say(gateway, "talk") for _ in range(40)} == {"b/middle"}
    for record in world.records:
        assert (record.decision.kind, record.decision.propensity) == (DecisionKind.DEFAULT, 1.0)
        assert record.shadow is not None
        assert sum(view.propensity for view in record.shadow.views) == pytest.approx(1.0, abs=1e-6)
        assert RequestRecord.from_json(record.to_json()) == record
        assert record.rateable
        assert record.explored_usd == 0
    agreed = sum(record.shadow is not None and record.shadow.arm == "b/middle" for record in world.records)
    assert world.counted("shadow", agrees="yes") == agreed
    assert world.counted("shadow", agrees="no") == 40 - agreed


async def test_in_shadow_mode_no_other_arm_answers_for_the_default_model(tmp_path: Path) -> None:
    """A failure is returned; what the client itself names or narrows goes first."""
    world = world_with(tmp_path, SHADOW_MODE="true")
    async with world.gateway() as gateway:
        world.upstream.tell("d/spare", *[Reply(error=UpstreamError("no"))] * 9)
        with pytest.raises(UpstreamFailed):
            await say(gateway)
        assert {call.arm for call in world.upstream.calls} == {"d/spare"}
        assert await say(gateway, model="c/large") == "c/large"
        assert await say(gateway, models=["b/middle", "c/large"]) == "b/middle"


# -- exploring ---------------------------------------------------------------------------------------------------------


async def test_who_wants_no_exploration_gets_the_best_expected_model(world: World) -> None:
    """For certain, and it says so; others explore meanwhile."""
    async with world.gateway() as gateway:
        assert len({await say(gateway) for _ in range(40)}) > 1
        before = len(world.records)
        assert len({await say(gateway, explore=False) for _ in range(20)}) == 1
    for record in world.records[before:]:
        assert (record.decision.exploration, record.decision.propensity) == ("off", 1.0)
    assert world.counted("unexplored", reason="off") == 20


async def test_exploring_ends_with_the_day_s_budget_and_begins_anew_the_next_day(tmp_path: Path) -> None:
    """What is spent is the price of explored answers and nothing else; when it is gone the choice is greedy."""
    world = world_with(tmp_path, EXPLORATION_BUDGET_USD=0.002)
    async with world.gateway() as gateway:
        while gateway.exploration.spent_usd < 0.002:
            await say(gateway)
        explored = [record for record in world.records if record.decision.explored]
        assert gateway.exploration.spent_usd == pytest.approx(
            sum(known(record.outcome.cost_usd) for record in explored)
        )
        assert gateway.exploration.spent_usd >= 0.002
        assert gateway.exploration.spent_usd - 0.002 < known(explored[-1].outcome.cost_usd)
        assert len({await say(gateway) for _ in range(20)}) == 1
        assert (world.records[-1].decision.exploration, world.records[-1].decision.propensity) == ("spent", 1.0)
        await gateway.exploration.refresh()
        await gateway.exploration.refresh()
        assert gateway.exploration.spent_usd == pytest.approx(
            sum(known(record.outcome.cost_usd) for record in explored)
        )
        world.clock.advance(86_400.0)
        assert gateway.exploration.spent_usd == 0
        assert len({await say(gateway) for _ in range(40)}) > 1


async def test_a_budget_of_nothing_never_explores(tmp_path: Path) -> None:
    """Zero is a budget; only an empty setting is none."""
    world = world_with(tmp_path, EXPLORATION_BUDGET_USD=0)
    async with world.gateway() as gateway:
        assert len({await say(gateway) for _ in range(20)}) == 1
    assert not any(record.decision.explored for record in world.records)


async def test_all_gateways_share_a_budget_and_one_goes_on_counting_without_redis(world: World) -> None:
    """What another one spent is seen after a refresh; what is not yet there is counted here, never forgotten."""
    one, other = (
        ExplorationBudget(world.log, budget_usd=1.0, clock=world.clock, metrics=world.metrics) for _ in range(2)
    )
    one.spend(0.4)
    world.memory.explored[utc_day(world.clock.now())] += 400_000_000  # as its record does
    await other.refresh()
    assert other.spent_usd == pytest.approx(0.4)
    await one.refresh()
    assert one.spent_usd == pytest.approx(0.8), "its record may not be in yet: what it counted itself stays once more"
    await one.refresh()
    assert one.spent_usd == pytest.approx(0.4)
    world.memory.away = True
    for _ in range(3):
        with pytest.raises(DependencyError):
            await other.refresh()
        other.spend(0.25)
    assert other.spent_usd == pytest.approx(1.15)
    assert not other.left
    world.memory.away = False


async def test_what_is_spent_while_the_budget_is_read_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer of Redis may be older than it: it counts at once, and after the next reading, too."""
    budget = ExplorationBudget(world.log, budget_usd=1.0, clock=world.clock, metrics=world.metrics)

    async def explored_usd(_now: float) -> float:
        budget.spend(0.3)
        return 0.1

    monkeypatch.setattr(world.log, "explored_usd", explored_usd)
    await budget.refresh()
    assert budget.spent_usd == pytest.approx(0.4)
    await budget.refresh()
    assert budget.spent_usd == pytest.approx(0.7)
