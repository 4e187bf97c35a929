"""Imported scores on a real Redis: counted once, by kind, whatever interrupts the import."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.learner.commands.import_scores import BATCH, Imported, import_scores
from services.learner.commands.score_file import ScoredAnswer
from shared.bandit.sources import Source
from shared.errors import DependencyError
from shared.schemas.imports import ImportedAnswer
from tests.support.fakes.embedder import FakeEmbedder
from tests.support.importing import ARMS, DAY_S, World, lines
from tests.support.ledgers import sums_in
from tests.support.redis_rig import RECENCY_DAYS, redis_rig


@pytest.fixture
async def world(redis_server: str) -> AsyncIterator[World]:
    async with redis_rig(redis_server) as rig:
        yield World(rig, redis_server)


async def test_scores_count_once_by_kind_and_become_neighbours(world: World) -> None:
    """The same file again changes nothing, not even a version, and embeds nothing."""
    done = await world.run(lines(100))
    assert (done.prompts, done.known, done.too_old) == (100, 0, 0)
    assert done.scores == dict.fromkeys(ARMS, 100)
    assert world.steps == [(0, 100), (BATCH, 100), (100, 100)]
    state = await world.rig.posteriors.load()
    for arm, score in (("v/a", 1.0), ("v/b", 0.5)):
        of = state.arms[arm].sources[Source.EVAL]
        assert (of.total.labels, of.total.score) == (50, 50 * score)
        assert len(of.kinds) > 1
        assert sum(one.labels for one in of.kinds.values()) == 50
    assert state.kinds is not None
    assert state.kinds.counts.sum() == 100, "a prompt is assigned once, however many models answered it"
    assert not state.kinds.examples, "GET /requests/{id} does not find an imported prompt"
    assert sorted((point.arm, point.score) for point in world.points.values())[:100] == [("v/a", 1.0)] * 100
    assert len(world.points) == 300
    asked = len(world.embedder.asked)
    again = await world.run(lines(100))
    assert (again.prompts, again.known, again.scores.total()) == (0, 100, 0)
    assert (await world.rig.posteriors.load()).version == state.version
    assert (asked, len(world.embedder.asked), len(world.points)) == (100, 100, 300)


async def test_another_score_replaces_the_earlier_one_and_another_model_is_added(world: World) -> None:
    """In one file as in two; a new weight counts for the whole prompt."""
    first, *_ = lines(1)
    better = [ScoredAnswer(first.prompt, "", arm, ImportedAnswer(score)) for arm, score in (("v/b", 0.25), ("x", 1.0))]
    await world.run([*lines(1), *better[:1]])
    await world.run(better, weight=1.0)
    totals = {arm: sums.sources[Source.EVAL].total for arm, sums in (await world.learned()).items()}
    assert {arm: (one.labels, one.score) for arm, one in totals.items()} == {
        "v/a": (1, 1.0), "v/b": (1, 0.25), "w/c": (1, 0.5), "x": (1, 1.0),
    }  # fmt: skip
    assert {point.arm: point.score for point in world.points.values()} == {
        "v/a": 1.0, "v/b": 0.25, "w/c": 0.5, "x": 1.0,
    }  # fmt: skip


async def test_prompt_system_source_and_day_tell_observations_apart(world: World) -> None:
    """Each counts for itself; the hour does not."""
    now = world.rig.clock.now() // DAY_S * DAY_S
    answer = ImportedAnswer(1.0)
    some = [
        ScoredAnswer("p", "", "v/a", answer),
        ScoredAnswer("q", "", "v/a", answer),
        ScoredAnswer("p", "s", "v/a", answer),
        ScoredAnswer("p", "", "v/a", answer, now),
        ScoredAnswer("p", "", "v/a", answer, now + 3600),
        ScoredAnswer("p", "", "v/a", answer, now - 30 * DAY_S),
        ScoredAnswer("p", "", "v/a", answer, now - 300 * DAY_S),
    ]
    done = await world.run(some, weight=1.0)
    assert (done.prompts, done.too_old) == (5, 1)
    assert (await world.run(some, Source.JUDGE, weight=1.0)).prompts == 5
    sources = (await world.learned())["v/a"].sources
    assert [sources[source].total.labels for source in (Source.EVAL, Source.JUDGE)] == [4.5, 4.5], "one is a month old"


@pytest.mark.parametrize("broken", ["kinds", "index", "posteriors", "embedder", "history"])
async def test_an_interrupted_import_is_completed_by_repeating_it(world: World, broken: str) -> None:
    """Whatever was away, and whatever had been done before: the sums are those of one import."""
    stores = await world.stores()
    target, method = {
        "kinds": (stores.kinds, "assign"),
        "index": (world.index, "upsert"),
        "posteriors": (stores.posteriors, "apply"),
        "embedder": (world.embedder, "embed"),
        "history": (world.history, "write"),
    }[broken]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, method, _away)
        with pytest.raises(DependencyError):
            await import_scores(
                lines(10), stores, lambda *_: None, source=Source.EVAL, weight=0.5, recency_days=RECENCY_DAYS
            )
    assert sums_in(world.url) == {}
    for prompts in (10, 0):
        assert (await world.run(lines(10))).prompts == prompts
        assert sums_in(world.url)["labels_milli:eval"] == 500 * 10 * len(ARMS)
    assert len(world.points) == 10 * len(ARMS)
    kinds = (await world.rig.posteriors.load()).kinds
    assert kinds is not None
    assert kinds.counts.sum() == 10


async def test_a_revision_after_a_change_of_the_embedding_model_keeps_the_vector_of_the_kind(world: World) -> None:
    """The kind was found with it, and a rebuild finds it again. The points are in the new model's collection."""
    await world.run(lines(10))
    first = {own_id: one.vector for own_id, one in world.history.imports.items()}
    world.embedder = FakeEmbedder(64)
    assert (await world.run(lines(12, score=0.25))).prompts == 12
    by_size = {own_id: 0 if one.vector is None else len(one.vector) for own_id, one in world.history.imports.items()}
    assert {by_size[own_id] for own_id in first} == {256}
    assert sorted(by_size.values()) == [64, 64] + [256] * 10
    assert all(one.assigned is not None for one in world.history.imports.values())
    sizes = [(model.dimension, len(points)) for model, points in world.index.points.items()]
    assert sizes == [(256, 10 * len(ARMS)), (64, 12 * len(ARMS))]
    totals = {arm: sums.sources[Source.EVAL].total.score for arm, sums in (await world.learned()).items()}
    assert totals == {"v/a": 6.0, "v/b": 1.5, "w/c": 1.5}


async def test_two_imports_at_the_same_time_count_nothing_twice(world: World) -> None:
    """One of them is told to repeat, where both had read what was stored before either was applied."""
    done = await asyncio.gather(world.run(lines(70)), world.run(lines(70)), return_exceptions=True)
    assert all(isinstance(one, Imported | DependencyError) for one in done)
    await world.run(lines(70))
    assert sums_in(world.url)["labels_milli:eval"] == 500 * 70 * len(ARMS)


async def _away(*_: object) -> None:
    raise DependencyError("redis", "away")
