"""Assignment in the learner: once for each request, in one order, whatever happens in between."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from services.learner.learning.assign_kinds import KindAssigner
from shared.bandit.assigner import Assigner
from shared.bandit.kinds import Kinds, no_kinds
from shared.bandit.traits import EXTRA_DIMENSION, assign
from shared.errors import CorruptState, DependencyError
from shared.metrics import LearnerMetrics
from shared.schemas.events import EventKind
from shared.schemas.storage import Assignment, EmbeddingModel, LoggedRequest, NewRecord
from tests.support.fakes.kind_store import FakeKindStore
from tests.support.fakes.memory import Memory
from tests.support.fakes.request_log import FakeRequestLog
from tests.support.kinds import same, unit_vectors
from tests.support.sample_records import a_record
from tests.support.values import replace


class Store(FakeKindStore):
    """Fails in the way that a test asks for."""

    lost = 0
    """So many saves happen, and their answer is lost."""
    damaged = False
    loads = 0

    async def load(self) -> Kinds | None:
        self.loads += 1
        if self.damaged:
            raise CorruptState("kinds: damaged")
        await asyncio.sleep(0)
        return await super().load()

    async def save(self, before: Kinds | None, after: Kinds, assigned: Mapping[str, Assignment]) -> bool:
        await asyncio.sleep(0)
        saved = await super().save(before, after, assigned)
        if self.lost:
            self.lost -= 1
            raise DependencyError("redis", "no answer in time")
        return saved


@dataclass
class World:
    memory: Memory = field(default_factory=Memory)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    model: EmbeddingModel | None = field(default_factory=lambda: EmbeddingModel("test-4", 4))

    def __post_init__(self) -> None:
        self.store, self.log = Store(self.memory), FakeRequestLog(self.memory)
        self.metrics = LearnerMetrics(self.registry)
        self.one = self.learner()

    async def fetch_model(self) -> EmbeddingModel:
        if self.model is None:
            raise DependencyError("embedder", "away")
        return self.model

    def learner(self) -> KindAssigner:
        return KindAssigner(
            store=self.store, log=self.log, fetch_model=self.fetch_model, clock=self.memory.clock, metrics=self.metrics
        )

    async def record(self, vectors: list[np.ndarray] | np.ndarray, model: str | None = "test-4") -> list[str]:
        entries = [NewRecord(a_record(self.memory.clock.now(), embedding_model=model), vector) for vector in vectors]
        await self.log.record(entries)
        return [entry.record.id for entry in entries]

    async def assign(self, own_ids: list[str], learner: KindAssigner | None = None) -> list[LoggedRequest]:
        found = await (learner or self.one).assign(await self.log.load(own_ids))
        return [one for one in found if one is not None]

    def gauge(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"llm_router_{name}")


@pytest.fixture
def world() -> World:
    return World()


async def test_each_request_is_assigned_once_in_its_order(world: World) -> None:
    """Twice in a batch, and in a later one, it is one request; the kinds are those of the vectors in that order."""
    vectors = unit_vectors(60)
    own_ids = await world.record(vectors)
    first = await world.assign([*own_ids[:40], *own_ids[:10]])
    again = await world.assign(own_ids)
    assert [one.assigned for one in again[:40]] == [one.assigned for one in first[:40]]
    kinds = world.memory.kinds
    assert kinds is not None
    assert kinds.counts.sum() == 60
    orders = [one.assigned.order for one in again if one.assigned is not None]
    assert orders == list(range(kinds.order - 59, kinds.order + 1))
    start = no_kinds(4 + EXTRA_DIMENSION, generation=kinds.generation, model="test-4")
    straight = Assigner(replace(start, order=orders[0] - 1))
    assert [
        (kinds.generation, assign(straight, v, (), own_id)) for v, own_id in zip(vectors, own_ids, strict=True)
    ] == [one.kind for one in again]
    assert same(straight.kinds, kinds)
    assert (world.gauge("cluster_epoch"), world.gauge("kinds")) == (kinds.generation, len(kinds.ids))


async def test_a_learner_whose_save_was_lost_counts_nothing_twice(world: World) -> None:
    """The connection broke after the save: the redelivered batch finds its requests assigned."""
    own_ids = await world.record(unit_vectors(20))
    world.store.lost = 1
    with pytest.raises(DependencyError):
        await world.assign(own_ids)
    found = await world.assign(own_ids)
    assert all(one.assigned is not None for one in found)
    assert world.memory.kinds is not None
    assert world.memory.kinds.counts.sum() == 20


async def test_learners_that_contend_agree(world: World) -> None:
    """Three on the same requests and two on others: each request has one place, which all of them see."""
    shared, others = await world.record(unit_vectors(50)), await world.record(unit_vectors(50, seed=1))
    learners = [world.learner() for _ in range(5)]
    work = [shared, shared, shared[::-1], others, others]
    found = await asyncio.gather(*(world.assign(ids, each) for ids, each in zip(work, learners, strict=True)))
    stored = {own_id: story.assigned for own_id, story in world.memory.stories.items()}
    for batch in found:
        assert {one.record.id: one.assigned for one in batch}.items() <= stored.items()
    assert world.memory.kinds is not None
    assert world.memory.kinds.counts.sum() == 100
    assert len({assigned.order for assigned in stored.values() if assigned is not None}) == 100


async def test_the_kinds_are_read_again_only_when_another_has_changed_them(world: World) -> None:
    """A batch costs one save."""
    other = world.learner()
    for seed, learner in enumerate((world.one, world.one, world.one, other, world.one)):
        await world.assign(await world.record(unit_vectors(5, seed=seed)), learner)
    assert world.store.loads == 3


async def test_without_a_unit_vector_there_is_no_kind(world: World) -> None:
    """One vector that is damaged would move a centre for ever."""
    good = unit_vectors(1)[0]
    bad = [good * 3, good * np.nan, good * 0, good * np.inf]
    found = await world.assign(await world.record([*bad, good]))
    assert [one.kind is not None for one in found] == [False] * 4 + [True]
    nameless = await world.assign(await world.record([good], model=None))
    assert nameless[0].kind is None


async def test_another_embedding_model_starts_a_generation(world: World) -> None:
    """When the embedder has it: the order goes on, requests of the old model have no kind then."""
    (old,) = await world.assign(await world.record(unit_vectors(1)))
    new = unit_vectors(3, 6)
    foreign = await world.assign(await world.record(new, model="new-6"))
    assert [one.kind for one in foreign] == [None] * 3, "the embedder still has the old model"
    world.model = EmbeddingModel("new-6", 6)
    world.memory.clock.advance(31)
    found = await world.assign(await world.record(new, model="new-6"))
    assert old.assigned is not None
    assert [one.assigned.order for one in found if one.assigned] == [old.assigned.order + at for at in (1, 2, 3)]
    assert {one.kind[0] for one in found if one.kind} == {old.assigned.kind[0] + 1}
    late = await world.assign(
        [*await world.record(unit_vectors(2)), *await world.record(unit_vectors(2, 6), model="new-6")]
    )
    assert [one.kind and one.kind[0] for one in late] == [None, None, *[old.assigned.kind[0] + 1] * 2]
    assert world.memory.kinds is not None
    assert (world.memory.kinds.model, world.memory.kinds.dimension) == ("new-6", 6 + EXTRA_DIMENSION)


async def test_the_traits_of_a_request_are_part_of_its_kind(world: World) -> None:
    """The same text under two system prompts is of two kinds."""
    (vector,) = unit_vectors(1)
    entries = [
        NewRecord(replace(a_record(world.memory.clock.now()), traits=(trait,)), vector)
        for trait in ("system:5d2f00c2a1b7e94c", "system:3c91f6e08d54aa17") * 3
    ]
    await world.log.record(entries)
    found = await world.assign([entry.record.id for entry in entries])
    assert [one.kind and one.kind[1] for one in found] == [0, 1] * 3


async def test_while_the_embedder_is_away_the_generation_stays(world: World) -> None:
    """A request of another model may be an old one."""
    await world.assign(await world.record(unit_vectors(1)))
    world.model = None
    (found,) = await world.assign(await world.record(unit_vectors(1, 6), model="new-6"))
    assert found.kind is None


async def test_damaged_kinds_do_not_hold_up_learning(world: World) -> None:
    """Requests are learned without a kind; as soon as the kinds can be read, with one."""
    own_ids = await world.record(unit_vectors(3))
    world.store.damaged = True
    assert [one.kind for one in await world.assign(own_ids)] == [None] * 3
    world.store.damaged = False
    assert all(one.kind is not None for one in await world.assign(own_ids))


async def test_a_reset_router_repeats_no_order_and_no_generation(world: World) -> None:
    """The history may still hold what was assigned before Redis lost everything."""
    (before,) = await world.assign(await world.record(unit_vectors(1)))
    world.memory.kinds = None
    world.memory.clock.advance(60)
    (after,) = await world.assign(await world.record(unit_vectors(1)), world.learner())
    assert before.assigned is not None
    assert after.assigned is not None
    assert after.assigned.order > before.assigned.order
    assert after.assigned.kind[0] > before.assigned.kind[0]


async def test_what_an_earlier_version_counted_is_not_counted_again(world: World) -> None:
    """Its kind is the one that its outcome was counted in."""
    (own_id,) = await world.record(unit_vectors(1))
    world.memory.stories[own_id].ledger[EventKind.OUTCOME] = (1, {"requests": 1, "requests@3.5": 1})
    (found,) = await world.assign([own_id])
    assert found.assigned == Assignment((3, 5))
    assert world.memory.kinds is None
