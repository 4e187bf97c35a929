"""How requests become points: labelled with the latest rating, whatever goes wrong on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from services.learner.learning.retention import drop_expired
from services.learner.writers.index_writer import IndexWriter
from shared.bandit.sources import Source
from shared.clock import utc_day
from shared.errors import DependencyError
from shared.schemas.records import Status
from shared.schemas.storage import EmbeddingModel, Point
from tests.support.fakes.event_queue import FakeEventQueue
from tests.support.fakes.memory import Memory
from tests.support.fakes.posterior_store import FakePosteriorStore
from tests.support.fakes.request_index import FakeRequestIndex
from tests.support.fakes.request_log import FakeRequestLog
from tests.support.sample_records import a_new_record, without_vector
from tests.support.values import replace

MODEL = EmbeddingModel("test-4", 4)
RECENCY_DAYS = 10.0


@dataclass
class World:
    memory: Memory = field(default_factory=Memory)
    index: FakeRequestIndex = field(default_factory=FakeRequestIndex)
    model: EmbeddingModel | None = MODEL
    asked: int = 0

    def __post_init__(self) -> None:
        self.log = FakeRequestLog(self.memory, window_s=1e9)
        self.index_writer = IndexWriter(
            log=self.log,
            index=self.index,
            fetch_model=self.fetch_model,
            clock=self.memory.clock,
            point_days=RECENCY_DAYS,
        )

    async def fetch_model(self) -> EmbeddingModel:
        self.asked += 1
        if self.model is None:
            raise DependencyError("embedder", "away")
        return self.model

    async def due(self, *, score: float | None = 0.5, **facts: object) -> str:
        entry = a_new_record(self.memory.clock.now(), **facts)
        await self.log.record([entry])
        if score is not None:
            await self.rate(entry.record.id, score)
        self.memory.unindexed[entry.record.id] = None
        return entry.record.id

    async def rate(self, own_id: str, score: float) -> None:
        await self.log.rate(owner=None, public_id=own_id, score=score, text=None, now=self.memory.clock.now())

    def points(self) -> dict[str, Point]:
        return self.index.points.get(MODEL, {})


async def test_what_is_due_is_written_with_its_latest_label() -> None:
    """A request without a rating has no point, and nothing stays due."""
    world = World()
    await world.due(score=None)
    rated = await world.due(score=0.3)
    await world.rate(rated, 0.9)
    assert await world.index_writer.step() == 2
    assert {own_id: point.score for own_id, point in world.points().items()} == {rated: 0.9}
    assert world.memory.unindexed == {}


@pytest.mark.parametrize("written", [True, False])
async def test_a_withdrawn_rating_leaves_a_point_without_a_label(written: bool) -> None:
    """It is no neighbour, and a later rating labels it again: its vector is in the index and nowhere else."""
    world = World()
    kept, withdrawn = await world.due(score=0.5), await world.due(score=0.5)
    if written:
        await world.index_writer.step()
    await world.log.withdraw([withdrawn], [Source.USER])
    world.memory.unindexed[withdrawn] = None
    await world.index_writer.step()
    assert {own_id: point.score for own_id, point in world.points().items()} == {kept: 0.5, withdrawn: None}
    assert world.memory.unindexed == {}
    await world.rate(withdrawn, 0.9)
    world.memory.unindexed[withdrawn] = None
    await world.index_writer.step()
    assert world.points()[withdrawn].score == 0.9


async def test_a_rating_that_comes_while_we_write_is_not_lost() -> None:
    """The point that was written without it stays due and is written again."""
    world = World()
    own_id = await world.due()
    upsert, scores = world.index.upsert, []

    async def rated_meanwhile(points: Sequence[Point]) -> None:
        scores.append(points[0].score)
        await upsert(points)
        if len(scores) == 1:
            await world.rate(own_id, 0.7)

    world.index.upsert = rated_meanwhile  # type: ignore[method-assign]  # the race under test
    await world.index_writer.step()
    assert scores == [0.5, 0.7]
    assert world.points()[own_id].score == 0.7


async def test_without_qdrant_points_wait_and_attempts_become_rarer() -> None:
    """Nothing is lost and nothing raised; after its return everything is written."""
    world = World()
    world.index.available = False
    own_id = await world.due()
    attempts = 0
    for _ in range(60):
        before = world.asked
        assert await world.index_writer.step() == 0
        attempts += world.asked > before
        world.memory.clock.advance(1)
    assert 10 <= attempts <= 16
    assert list(world.memory.unindexed) == [own_id]
    world.index.available = True
    world.memory.clock.advance(60)
    assert await world.index_writer.step() == 1
    assert set(world.points()) == {own_id}


async def test_points_of_another_model_are_skipped_and_crossed_off() -> None:
    """Vectors of two models never mix; neither do requests without a vector or an answer, or too old ones."""
    world = World()
    await world.due()
    world.memory.clock.advance((RECENCY_DAYS + 1) * 86_400)
    for facts in ({"embedding_model": "older"}, {"status": Status.FAILED}):
        await world.due(**facts)
    entry = a_new_record(world.memory.clock.now())
    for other in (without_vector(entry), replace(a_new_record(entry.record.created_at), vector=np.ones(3, np.float32))):
        await world.log.record([other])
        world.memory.unindexed[other.record.id] = None
    good = await world.due()
    world.memory.unindexed["gone"] = None
    await world.index_writer.step()
    assert set(world.points()) == {good}
    assert world.memory.unindexed == {}


async def test_a_change_of_the_embedder_is_noticed_before_a_point_is_dropped() -> None:
    """The first record of the new model makes the learner ask, and its point goes to the new collection."""
    world = World()
    await world.due()
    await world.index_writer.step()
    world.model = EmbeddingModel("newer", 4)
    own_id = await world.due(embedding_model="newer")
    await world.index_writer.step()
    assert set(world.index.points[world.model]) == {own_id}


async def test_without_the_embedder_the_known_collection_is_used() -> None:
    """Points need no embedder, only its name once."""
    world = World()
    await world.due()
    await world.index_writer.step()
    world.model = None
    own_id = await world.due()
    world.memory.clock.advance(3600)
    await world.index_writer.step()
    assert own_id in world.points()


async def test_housekeeping_drops_what_no_decision_looks_at() -> None:
    """Points beyond RECENCY_DAYS go; sums only once they have faded to nothing; one failure does not stop the rest."""
    world = World()
    queue, posteriors = FakeEventQueue(world.memory), FakePosteriorStore(world.memory, recency_days=RECENCY_DAYS)
    await world.due()
    await world.index_writer.step()
    world.memory.sums["arm", "2000-01-01"] = Counter(labels=1)
    world.memory.versions["arm", "2000-01-01"] = 1
    world.memory.clock.advance((RECENCY_DAYS + 1) * 86_400)
    await drop_expired(
        posteriors=posteriors,
        queue=queue,
        index_writer=world.index_writer,
        clock=world.memory.clock,
        recency_days=RECENCY_DAYS,
    )
    assert world.points() == {}
    assert world.memory.sums == {}


@pytest.mark.parametrize(("age_days", "kept"), [(0, True), (8 * RECENCY_DAYS, True), (8 * RECENCY_DAYS + 2, False)])
async def test_sums_stay_for_eight_half_lives(age_days: float, kept: bool) -> None:
    """As long as a day weighs 1/256 it is read; the day after that it is dropped."""
    world = World()
    posteriors = FakePosteriorStore(world.memory, recency_days=RECENCY_DAYS)
    day = utc_day(world.memory.clock.now() - age_days * 86_400)
    world.memory.sums["arm", day] = Counter(labels=1)
    world.memory.versions["arm", day] = 1
    await drop_expired(
        posteriors=posteriors,
        queue=FakeEventQueue(world.memory),
        index_writer=world.index_writer,
        clock=world.memory.clock,
        recency_days=RECENCY_DAYS,
    )
    assert (("arm", day) in world.memory.sums) is kept
    assert bool((await posteriors.load()).arms) is kept


@pytest.mark.parametrize("down", ["redis", "qdrant"])
async def test_housekeeping_goes_on_without_a_dependency(down: str) -> None:
    """It never raises; what can be done is done."""
    world = World()
    queue, posteriors = FakeEventQueue(world.memory), FakePosteriorStore(world.memory, recency_days=RECENCY_DAYS)
    world.memory.away, world.index.available = down == "redis", down != "qdrant"
    await drop_expired(
        posteriors=posteriors,
        queue=queue,
        index_writer=world.index_writer,
        clock=world.memory.clock,
        recency_days=RECENCY_DAYS,
    )


async def test_a_later_rating_labels_a_point_whose_vector_is_gone() -> None:
    """The vector is in the index and nowhere else."""
    world = World()
    own_id = await world.due(score=0.5)
    await world.index_writer.step()
    vector = world.points()[own_id].vector
    for score in (0.25, 1.0):
        await world.rate(own_id, score)
        world.memory.unindexed[own_id] = None
        assert await world.index_writer.step() == 1
        assert (world.points()[own_id].score, world.points()[own_id].vector is vector) == (score, True)
