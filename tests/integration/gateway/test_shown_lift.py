"""`GET /arms`: what routing gains over the control group."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from services.gateway.http.openapi_document import document
from shared.bandit.decision import Group
from shared.bandit.learning import lift_outcome_sums, lift_rating_sums
from shared.clock import utc_day
from tests.support.fakes.gateway import World, settings_for
from tests.support.json_schema import faults
from tests.support.served_gateway import ask, serving


def taught(tmp_path: Path, *, rated: bool) -> World:
    """Return a world with 20 answers in the control group and 60 routed ones, which cost half."""
    world, sums = World(settings_for(tmp_path / "spool")), Counter[str]()
    for group, number, cost_usd, scores in (
        (Group.CONTROL, 20, 0.02, (0.0, 1.0)),
        (Group.ROUTED, 60, 0.01, (0.5, 1.0)),
    ):
        for at in range(number):
            sums.update(lift_outcome_sums(group, cost_usd=cost_usd, terms=-10 * cost_usd))
            sums.update(lift_rating_sums(group, scores[at % 2]) if rated else {})
    world.memory.sums["a/small", utc_day(world.clock.now())] = sums
    return world


async def shown(world: World) -> Any:
    async with serving(world) as client:
        _, body, _ = await ask(client, "/arms")
    schema = document("1")["paths"]["/arms"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert faults(body, schema) == []
    return body["lift"]


async def test_the_lift_is_shown_with_its_interval(tmp_path: Path) -> None:
    """Ratings .75 against .5, at half of the cost: quality, utility, cost, and nothing left to pay back."""
    world = taught(tmp_path, rated=True)
    lift = await shown(world)
    quality, utility = lift["quality"], lift["utility"]
    assert quality["mean"] == pytest.approx(0.25)
    assert quality["low"] < 0.25 < quality["high"]
    assert utility["mean"] == pytest.approx(0.25 * world.settings.FEEDBACK_WEIGHT + 0.1)
    assert lift["cost_usd"] == pytest.approx(-0.01)
    assert lift["requests_left"] == 0
    assert {name: sums["requests"] for name, sums in lift["groups"].items()} == pytest.approx(
        {"control": 20, "routed": 60}
    )


async def test_without_ratings_only_the_cost_is_known(tmp_path: Path) -> None:
    lift = await shown(taught(tmp_path, rated=False))
    assert (lift["quality"], lift["utility"], lift["net"], lift["requests_left"]) == (None, None, None, None)
    assert lift["cost_usd"] == pytest.approx(-0.01)


async def test_without_a_control_group_there_is_no_lift(tmp_path: Path) -> None:
    assert await shown(World(settings_for(tmp_path / "spool"))) is None
