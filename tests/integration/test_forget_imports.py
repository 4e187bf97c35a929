"""`forget` takes imported scores back: from the sums, the index and the history, whatever interrupts it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.learner.commands.forget import Selection
from services.learner.commands.forget_imports import forget_imports
from services.learner.commands.import_scores import ImportStores
from shared.bandit.sources import Source
from shared.errors import DependencyError
from tests.support.importing import ARMS, DAY_S, World, lines
from tests.support.ledgers import sums_in
from tests.support.redis_rig import redis_rig


@pytest.fixture
async def world(redis_server: str) -> AsyncIterator[World]:
    async with redis_rig(redis_server) as rig:
        yield World(rig, redis_server)


async def forgotten(world: World, selection: Selection, stores: ImportStores | None = None) -> int:
    own_ids = [one async for some in world.rig.imports.all_ids() for one in some]
    return await forget_imports(selection, own_ids, stores or await world.stores(), lambda *_: None)


async def test_a_source_is_taken_back_and_others_stay(world: World) -> None:
    """As if it had never been; then it can be imported again."""
    await world.run(lines(80), Source.JUDGE)
    judged, points = sums_in(world.url), dict(world.points)
    version = (await world.rig.posteriors.load()).version
    await world.run(lines(100, score=0.25))
    both = sums_in(world.url)
    assert await forgotten(world, Selection(source=Source.EVAL)) == 100 * len(ARMS)
    assert sums_in(world.url) == judged
    assert (await world.rig.posteriors.load()).version != version, "the gateways have to notice"
    assert world.points == points
    assert {record.source for record in world.history.records if record.answers} == {Source.JUDGE}
    assert await forgotten(world, Selection(source=Source.EVAL)) == 0
    assert (await world.run(lines(100, score=0.25))).prompts == 100
    assert sums_in(world.url) == both
    assert len(world.points) == 180 * len(ARMS)


async def test_arm_and_time_select_scores_and_keys_select_none(world: World) -> None:
    """An import belongs to no key. Of a prompt the scores of other models stay."""
    now = world.rig.clock.now()
    await world.run(lines(3))
    await world.run(lines(4, scored_at=now - 2 * DAY_S))
    assert await forgotten(world, Selection(owner="public")) == 0
    assert await forgotten(world, Selection(arm="v/b", since=now - DAY_S)) == 3
    labels = {arm: sums.sources[Source.EVAL].total.labels for arm, sums in (await world.learned()).items()}
    older = 4 * 0.5 * 0.5 ** (2 / 30)
    assert labels == pytest.approx({"v/a": 1.5 + older, "v/b": older, "w/c": 1.5 + older})
    assert sorted(point.arm for point in world.points.values()) == ["v/a"] * 7 + ["v/b"] * 4 + ["w/c"] * 7
    assert await forgotten(world, Selection(arm="v/a")) == 7
    assert await forgotten(world, Selection()) == 4 + 7
    assert sums_in(world.url) == {}
    assert world.points == {}


@pytest.mark.parametrize("broken", ["index", "history", "imports", "posteriors"])
async def test_an_interrupted_command_is_completed_by_repeating_it(world: World, broken: str) -> None:
    """Whatever was away, and whatever had been done before."""
    await world.run(lines(10))
    stores = await world.stores()
    target, method = {
        "index": (world.index, "delete"),
        "history": (world.history, "write"),
        "imports": (stores.imports, "put"),
        "posteriors": (stores.posteriors, "apply"),
    }[broken]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, method, _away)
        with pytest.raises(DependencyError):
            await forgotten(world, Selection(source=Source.EVAL), stores)
    assert sums_in(world.url) != {}
    await forgotten(world, Selection(source=Source.EVAL))
    assert sums_in(world.url) == {}
    assert world.points == {}


async def _away(*_: object) -> None:
    raise DependencyError("redis", "away")
