"""SAFE_START with a DEFAULT_MODEL that LLM_MODELS does not name: it competes with the others all the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.gateway.app import Gateway
from shared.bandit.arms import Arm
from shared.bandit.decision import Decision, DecisionKind
from shared.bandit.learning import feedback_sums
from shared.clock import utc_day
from tests.support.fakes.gateway import ARMS, World, chat, new_request, settings_for
from tests.support.fakes.use_cases import consider

DEFAULT = "d/spare"


def world_with(folder: Path, **settings: object) -> World:
    return World(settings_for(folder / "spool", **{"SAFE_START": "true", "DEFAULT_MODEL": "spare", **settings}))


async def decide(gateway: Gateway, **fields: Any) -> Decision:
    asked = chat(**fields)
    return (await consider(asked, new_request(), gateway)).decision


def rated(world: World, arm: str, score: float, times: int = 40) -> None:
    sums = Counter[str]()
    for _ in range(times):
        sums.update(feedback_sums(score=score, view=None, kind=None))
    world.memory.sums[arm, utc_day(world.clock.now())] = sums
    world.memory.versions[arm, utc_day(world.clock.now())] += 1


async def test_the_default_answers_until_the_ratings_name_a_better_model(tmp_path: Path) -> None:
    """From cold it answers everything; then what is better does, and the default is among the arms of the draw."""
    world = world_with(tmp_path)
    async with world.gateway() as gateway:
        cold = [await decide(gateway) for _ in range(20)]
        assert {(each.kind, each.arm, each.propensity) for each in cold} == {(DecisionKind.DEFAULT, DEFAULT, 1.0)}
        assert set(cold[0].ranked) == {arm.id for arm in ARMS}, "where it fails, the others are asked"
        rated(world, DEFAULT, 0.3)
        rated(world, "b/middle", 0.9)
        await gateway.posteriors.refresh()
        learned = await decide(gateway)
        assert learned.kind is DecisionKind.GLOBAL
        assert max(learned.views, key=lambda view: view.utility).arm == "b/middle"
        assert {view.arm for view in learned.views} == {arm.id for arm in ARMS}
        assert sum(view.propensity for view in learned.views) == pytest.approx(1.0)


async def test_a_default_that_is_better_keeps_answering(tmp_path: Path) -> None:
    """It is judged by its own ratings, not by a prior."""
    world = world_with(tmp_path)
    rated(world, DEFAULT, 0.95)
    for arm in ("a/small", "b/middle", "c/large"):
        rated(world, arm, 0.5)
    async with world.gateway() as gateway:
        decision = await decide(gateway)
        assert (decision.kind, decision.arm) == (DecisionKind.DEFAULT, DEFAULT)
        narrowed = await decide(gateway, models=["a/small", "b/middle"])
        assert DEFAULT not in narrowed.ranked, "the client rules it out"


async def test_a_default_that_is_replaced_hands_over(tmp_path: Path) -> None:
    """The provider of a short name changes: from then on the new model is the one to start with."""
    world = world_with(tmp_path)
    async with world.gateway() as gateway:
        assert (await decide(gateway)).arm == DEFAULT
        world.upstream.arms = (*ARMS[:3], Arm("e/spare", ARMS[3].price))
        await gateway.catalogue.refresh()
        await gateway.posteriors.refresh()
        decision = await decide(gateway)
        assert (decision.kind, decision.arm) == (DecisionKind.DEFAULT, "e/spare")


async def test_it_is_an_arm_that_stays(tmp_path: Path) -> None:
    """It is neither added nor removed; without SAFE_START it is no arm."""
    world = world_with(tmp_path)
    async with world.gateway() as gateway:
        catalogue = gateway.catalogue
        assert list(catalogue.arm_ids) == ["a/small", "b/middle", "c/large", DEFAULT]
        assert [*catalogue.added, *catalogue.removed] == []
        catalogue.change({DEFAULT: False, "a/small": False})
        assert list(catalogue.arm_ids) == ["b/middle", "c/large", DEFAULT]
        assert list(catalogue.removed) == ["a/small"]
    async with world_with(tmp_path / "other", SAFE_START="false").gateway() as gateway:
        assert DEFAULT not in gateway.catalogue.arm_ids


async def test_a_default_that_is_not_listed_is_logged_as_a_warning(tmp_path: Path) -> None:
    """Then there is nothing to start with, and the log says that SAFE_START has no effect."""
    world = world_with(tmp_path, DEFAULT_MODEL="nowhere/at-all")
    with capture_logs() as said:
        async with world.gateway() as gateway:
            assert (await decide(gateway)).kind is DecisionKind.GLOBAL
    (line,) = [line for line in said if "DEFAULT_MODEL" in line["event"]]
    assert line["log_level"] == "warning"
    assert line["event"].endswith("SAFE_START has no effect")
