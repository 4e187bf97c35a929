"""`GET /arms`: evidence by source, and how it agrees with users."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from services.gateway.http.openapi_document import document
from shared.bandit.learning import feedback_sums, score_sums
from shared.bandit.sources import Source
from shared.clock import utc_day
from tests.support.fakes.gateway import World, settings_for
from tests.support.json_schema import faults
from tests.support.served_gateway import ask, serving

RATINGS = 40


def taught(tmp_path: Path) -> World:
    """Return a world where users rate a/small .5; a judge rates it .7, and b/middle, which no user has rated, .9."""
    world = World(settings_for(tmp_path / "spool"))
    day = utc_day(world.clock.now())
    for arm, users, judge in (("a/small", 0.5, 0.7), ("b/middle", None, 0.9)):
        sums = Counter[str]()
        for _ in range(RATINGS):
            sums.update(score_sums(source=Source.JUDGE, score=judge, kind=None, weight=0.5))
            sums.update({} if users is None else feedback_sums(score=users, view=None, kind=None))
        world.memory.sums[arm, day] = sums
    return world


async def test_evidence_and_agreement_by_source_are_shown(tmp_path: Path) -> None:
    """What the judge says of each model, how it differs from users where both rated, and null where they did not."""
    async with serving(taught(tmp_path)) as client:
        _, shown, _ = await ask(client, "/arms")
    (judge,) = shown["sources"]
    assert (judge["source"], judge["scores"]) == ("judge", pytest.approx(RATINGS))
    assert 0 < judge["shift"] < 0.2
    assert judge["bias_sd"] > 0
    said = {arm["arm"]: arm["sources"]["judge"] for arm in shown["data"]}
    assert said["a/small"]["scores"] == said["b/middle"]["scores"] == pytest.approx(RATINGS / 2)
    assert said["a/small"]["difference"] == pytest.approx(0.2)
    assert said["a/small"]["difference_sd"] > 0
    assert (said["b/middle"]["difference"], said["b/middle"]["difference_sd"]) == (None, None)
    assert said["c/large"]["scores"] == 0
    schema = document("1")["paths"]["/arms"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert faults(shown, schema) == []


async def test_without_other_sources_there_are_none(tmp_path: Path) -> None:
    async with serving(World(settings_for(tmp_path / "spool"))) as client:
        _, shown, _ = await ask(client, "/arms")
    assert shown["sources"] == []
    assert all(arm["sources"] == {} for arm in shown["data"])
