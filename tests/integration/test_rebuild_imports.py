"""Imported scores come back from PostgreSQL as they were, after Redis and Qdrant were lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
from msgspec import structs

from services.learner.commands.forget import Selection
from services.learner.commands.forget_imports import forget_imports
from services.learner.commands.score_file import ScoredAnswer
from shared.bandit.sources import Source
from shared.bandit.sums import Scores
from shared.schemas.imports import Import, ImportedAnswer, StoredImport
from shared.schemas.storage import Assignment
from shared.storage import redis_keys
from shared.storage.postgres_imports import PostgresImports
from tests.support.history_rig import ARMS, Memory, memory
from tests.support.kinds import same, unit_vectors
from tests.support.sample_records import own_id


@pytest.fixture
async def world(redis_server: str, qdrant_url: str, database_url: str) -> AsyncIterator[Memory]:
    async with memory(redis_server, qdrant_url, database_url) as made:
        yield made


def imported(prompts: int) -> list[ScoredAnswer]:
    """Two answers to each of so many prompts."""
    return [
        ScoredAnswer(f"{'cook soup' if at % 2 else 'write code'} {at}", "", arm, ImportedAnswer(at % 5 / 4, 1.5, 0.25))
        for at in range(prompts)
        for arm in ARMS[:2]
    ]


async def learned_imports(world: Memory) -> dict[str, tuple[bytes, Assignment, Mapping[str, int]]]:
    """Return record, kind and contribution of each import in Redis."""
    prefix = redis_keys.imported("")
    ids = [key.removeprefix(prefix) for key in await world.imports_in_redis()]
    found = {}
    for key, one in zip(ids, await world.rig.imports.load(ids), strict=True):
        assert one is not None
        assert one.assigned is not None
        assert one.sums is not None
        found[key] = one.record.to_json(), one.assigned, one.sums
    return found


async def test_imported_scores_come_back_as_they_were(world: Memory) -> None:
    """Between requests, whose kinds they share; revised; without points of another embedding model's vectors."""
    entries, scored = world.traffic(120), imported(60)
    await world.send(entries[:60])
    await world.learn()
    await world.import_scores(scored[:100])
    await world.send(entries[60:])
    await world.learn()
    await world.import_scores(scored, source=Source.JUDGE, weight=0.125)
    better = structs.replace(scored[0], answer=ImportedAnswer(0.75, 3.0, 0.5))
    await world.import_scores([better])
    sums, requests, points = await world.sums_in_redis(), await world.requests_in_redis(), await world.points()
    kinds = (await world.rig.posteriors.load()).kinds
    hashes = await world.imports_in_redis()
    learned = await learned_imports(world)
    assert len(hashes) == 50 + 60
    await world.lose()
    done = await world.rebuild()
    assert (done.requests, done.imports, done.points) == (len(entries), len(hashes), len(points))
    assert await world.sums_in_redis() == sums
    assert await world.points() == points
    assert await learned_imports(world) == learned
    assert same((await world.rig.posteriors.load()).kinds, kinds)
    assert set(await world.requests_in_redis()) <= set(requests)
    # What was imported is known; what is revised replaces what it had added.
    assert (await world.import_scores(scored[2:100])).known == 49
    await world.import_scores(scored[:1])
    assert (await world.import_scores([better])).prompts == 1
    assert await world.sums_in_redis() == sums
    hashes, unknown = await world.imports_in_redis(), own_id(world.rig.clock.now())
    await world.rig.imports.put([Import(unknown, Source.EVAL, world.rig.clock.now(), world.model.id, 1.0, {})])
    await world.rebuild(wipe=True)
    assert await world.sums_in_redis() == sums
    assert (await world.imports_in_redis()).keys() == hashes.keys(), "the history does not have the other one"


async def test_an_import_that_was_not_counted_is_counted_by_the_rebuild(world: Memory) -> None:
    """Redis was lost between the write to the history and the assignment or the contribution."""
    await world.history.prepare()
    answers = {"v/a": ImportedAnswer(1.0), "v/b": ImportedAnswer(0.5)}
    record = Import(own_id(world.rig.clock.now()), Source.EVAL, world.rig.clock.now(), world.model.id, 0.5, answers)
    await PostgresImports(world.history).write([StoredImport(record, unit_vectors(1, 4)[0])])
    assert (await world.rebuild()).imports == 1
    state = await world.rig.posteriors.load()
    assert {arm: list(sums.sources[Source.EVAL].kinds.values()) for arm, sums in state.arms.items()} == {
        "v/a": [Scores(0.5, 0.5)], "v/b": [Scores(0.5, 0.25)],
    }  # fmt: skip
    assert state.kinds is not None
    assert len(await world.points()) == 2


async def test_scores_that_were_forgotten_stay_forgotten(world: Memory) -> None:
    """And can be imported again after the rebuild."""
    await world.history.prepare()
    await world.import_scores(imported(10), source=Source.JUDGE)
    await world.import_scores(imported(10))
    before = await world.sums_in_redis()
    own_ids = [one async for some in world.rig.imports.all_ids() for one in some]
    stores = world.import_stores()
    assert await forget_imports(Selection(arm=ARMS[0], source=Source.EVAL), own_ids, stores, lambda *_: None) == 10
    sums, points = await world.sums_in_redis(), await world.points()
    await world.lose()
    assert (await world.rebuild()).imports == 20
    restored = await world.sums_in_redis()
    assert {key: _nonzero(fields) for key, fields in restored.items()} == {
        key: _nonzero(fields) for key, fields in sums.items()
    }
    assert await world.points() == points
    assert (await world.import_scores(imported(10))).prompts == 10
    assert await world.sums_in_redis() == before


def _nonzero(fields: object) -> object:
    """A sum of 0 equals a missing one."""
    return {name: value for name, value in fields.items() if value != b"0"} if isinstance(fields, dict) else fields
