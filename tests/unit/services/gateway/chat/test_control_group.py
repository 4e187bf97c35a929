"""CONTROL_SHARE: some conversations are served by DEFAULT_MODEL, and the difference is measured."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest

from services.gateway.process.metrics_view import MetricsView
from shared.bandit.control import group_of
from shared.bandit.decision import DecisionKind, Group
from shared.bandit.lift import measured_lift
from shared.bandit.sources import Source
from shared.bandit.sums import ArmSums, GroupSums, LearnedState, Scores, SourceSums, Sums
from tests.support.fakes.gateway import World, chat, new_request, settings_for
from tests.support.fakes.use_cases import complete, consider, route

SHARE = 0.5


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(settings_for(tmp_path).model_copy(update={"CONTROL_SHARE": SHARE, "DEFAULT_MODEL": "b/middle"}))


async def test_conversations_of_the_control_group_get_the_default_model_each_time(world: World) -> None:
    """And no others by force; propensities are recorded as of the mixture, in both groups."""
    async with world.gateway() as gateway:
        for number in range(60):
            request = new_request(session=f"s{number % 20}", owner="me")
            await complete(await route(chat(f"question {number}"), request, gateway), gateway)
    groups: dict[str | None, set[Group | None]] = {}
    for record in world.records:
        decision = record.decision
        groups.setdefault(record.session, set()).add(decision.group)
        chances = {view.arm: view.propensity for view in decision.views}
        assert sum(chances.values()) == pytest.approx(1)
        assert chances["b/middle"] >= SHARE
        assert decision.propensity == chances[decision.arm]
        if decision.group is Group.CONTROL:
            assert (decision.kind, decision.arm) == (DecisionKind.CONTROL, "b/middle")
        else:
            assert decision.kind is not DecisionKind.CONTROL
    assert groups == {f"s{number}": {group_of(f"me\0s{number}", SHARE)} for number in range(20)}
    assert {Group.CONTROL, Group.ROUTED} == {group for found in groups.values() for group in found}


async def test_a_request_without_a_session_is_a_conversation_of_its_own(world: World) -> None:
    async with world.gateway() as gateway:
        choices = [await consider(chat(), new_request(), gateway) for _ in range(200)]
    counted = Counter(choice.decision.group for choice in choices)
    assert 70 < counted[Group.CONTROL] < 130
    assert counted[None] == 0


async def test_requests_that_are_not_routed_freely_belong_to_no_group(world: World) -> None:
    """A client that names its model, or that allows no exploration, is not experimented with."""
    async with world.gateway() as gateway:
        for body, request in (({"model": "a/small"}, new_request()), ({}, new_request(explore=False))):
            decision = (await consider(chat(**body), request, gateway)).decision
            assert decision.group is None
            assert decision.propensity == 1


async def test_without_a_share_there_are_no_groups(tmp_path: Path) -> None:
    world = World(settings_for(tmp_path))
    async with world.gateway() as gateway:
        assert {(await consider(chat(), new_request(), gateway)).decision.group for _ in range(20)} == {None}


async def test_a_scrape_shows_what_was_measured(world: World) -> None:
    """Mean, interval, requests behind it, the net gain and the requests until it is paid back."""
    group = GroupSums(requests=100, labels=100, score=70, score_sq=50, cost_usd=1.0, terms=-10, terms_sq=2.0)
    better = GroupSums(requests=300, labels=300, score=240, score_sq=200, cost_usd=2.0, terms=-20, terms_sq=2.0)
    arm = ArmSums(groups={Group.CONTROL: group, Group.ROUTED: better})

    async def load() -> LearnedState:
        return LearnedState("1", {"a/small": arm})

    world.store.load = load  # type: ignore[method-assign]  # the learned state under test
    weights = world.settings.bandit().weights
    lift = measured_lift([arm], weights, 1.0)
    assert lift is not None
    assert lift.utility is not None
    async with world.gateway() as gateway:
        MetricsView(world.metrics, gateway.catalogue, gateway.posteriors, gateway.circuit_breakers, weights).show(
            {}, {}
        )
        assert world.counted("lift_measured", bound="mean") == pytest.approx(lift.utility.mean)
        assert world.counted("lift_measured", bound="low") == pytest.approx(lift.utility.low)
        assert world.counted("lift_requests", group="routed") == 300
        assert world.counted("lift_net") == pytest.approx(300 * lift.utility.mean)
        assert world.counted("requests_left") == 0


async def test_without_a_control_group_no_figure_is_shown(world: World) -> None:
    """Least of all a zero, which would say that everything is paid back."""
    weights = world.settings.bandit().weights
    async with world.gateway() as gateway:
        MetricsView(world.metrics, gateway.catalogue, gateway.posteriors, gateway.circuit_breakers, weights).show(
            {}, {}
        )
        assert math.isnan(world.counted("requests_left"))
        assert math.isnan(world.counted("lift_net"))


async def test_a_scrape_shows_how_sources_agree_with_users(world: World) -> None:
    """By source: scores, shift and bias as in `GET /arms`."""
    arm = ArmSums(
        Sums(labels=50, score=40, score_sq=35, requests=50), sources={Source.JUDGE: SourceSums(Scores(60, 30, 18))}
    )

    async def load() -> LearnedState:
        return LearnedState("1", {"a/small": arm})

    world.store.load = load  # type: ignore[method-assign]  # the learned state under test
    weights = world.settings.bandit().weights
    async with world.gateway() as gateway:
        MetricsView(world.metrics, gateway.catalogue, gateway.posteriors, gateway.circuit_breakers, weights).show(
            {}, {}
        )
        assert gateway.posteriors.snapshot is not None
        (fit,) = gateway.posteriors.snapshot.posterior.sources
        assert world.counted("source_scores", source="judge") == 60
        assert world.counted("source_shift", source="judge") == pytest.approx(fit.shift)
        assert world.counted("source_bias", source="judge") == pytest.approx(fit.bias_sd)
        assert fit.shift < -0.05
