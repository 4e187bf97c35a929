"""Fake and real `RequestIndex` return the same: one walk through all methods, each returned value compared whole."""

from __future__ import annotations

import random
import uuid
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from shared.ports import RequestIndex
from shared.schemas.storage import EmbeddingModel, Point
from shared.storage.qdrant_index import QdrantIndex
from tests.contracts.index_rig import MODEL, NOW
from tests.support.fakes.request_index import FakeRequestIndex
from tests.support.whole_values import outcome

Step = Callable[[RequestIndex], Awaitable[object]]


class Walk:
    """Random steps over few points, so that they replace, find and delete one another."""

    def __init__(self, seed: int) -> None:
        self.random, self.noise = random.Random(seed), np.random.default_rng(seed)
        self.ids = [str(uuid.uuid4()) for _ in range(12)]

    def vector(self) -> np.ndarray:
        """Return a unit vector near a common direction; no two have the same similarity to a third."""
        row = self.noise.normal(0.4, 0.5, MODEL.dimension).astype(np.float32)
        return row / np.linalg.norm(row)

    def point(self) -> Point:
        at = NOW - self.random.choice((0.0, 100.0, 5000.0)) - self.random.random() / 2
        arm, owner = self.random.choice(("a/b", "b/ü:free")), self.random.choice(("public", "k"))
        return Point(self.random.choice(self.ids), self.vector(), arm, at, owner, self.random.choice((None, 0.0, 0.7)))

    def upsert(self) -> Step:
        points = [self.point() for _ in range(self.random.choice((1, 3)))]
        return lambda index: index.upsert(points)

    def neighbours(self) -> Step:
        at, limit = self.vector(), self.random.choice((1, 3, 50))
        threshold, since = self.random.choice((-1.0, 0.3, 0.8)), NOW - self.random.choice((50.0, 1000.0, 1e6))
        return lambda index: index.neighbours(at, limit=limit, threshold=threshold, since=since)

    def misshapen(self) -> Step:
        at = np.ones(MODEL.dimension + 1, dtype=np.float32)
        return lambda index: failed(index.neighbours(at, limit=1, threshold=0.0, since=0.0))

    def delete(self) -> Step:
        some = [*self.random.sample(self.ids, 2), str(uuid.uuid4())]
        return lambda index: index.delete(some)

    def label(self) -> Step:
        scores = dict.fromkeys(self.random.sample(self.ids, 2), self.random.choice((None, 0.25)))
        return lambda index: index.label(scores)

    def delete_before(self) -> Step:
        at = NOW - self.random.choice((60.0, 1000.0, 1e6))
        return lambda index: index.delete_before(at)

    def count(self) -> Step:
        return lambda index: index.count()

    def prepare(self) -> Step:
        return lambda index: index.prepare(MODEL)

    STEPS = (upsert, upsert, upsert, neighbours, neighbours, misshapen, label, delete, delete_before, count, prepare)


async def failed(returned: Awaitable[object]) -> object:
    """Return the type of the error: each side has its own words for a vector of the wrong size."""
    try:
        return await returned
    except Exception as error:  # noqa: BLE001 - its type is what is compared
        return type(error).__name__


@pytest.mark.parametrize("seed", range(6))
async def test_fake_and_real_return_the_same_whole_values(real: QdrantIndex, seed: int) -> None:
    """Neighbours with ids, similarities, arms and scores, in order; counts after each deletion."""
    fake = FakeRequestIndex()
    await fake.prepare(MODEL)
    walk, done = Walk(seed), list[str]()
    for _ in range(80):
        kind = walk.random.choice(walk.STEPS)
        done.append(kind.__name__)
        step = kind(walk)
        theirs = await outcome(step(fake))
        assert await outcome(step(real)) == theirs, done[-12:]


async def test_both_refuse_before_they_are_prepared(http: object, fresh_model: EmbeddingModel) -> None:
    """Without a collection nothing can be read or written."""
    for index in (FakeRequestIndex(), QdrantIndex(http, None, 5.0)):  # type: ignore[arg-type]  # the fixture's pool
        point = Point(str(uuid.uuid4()), np.ones(8, dtype=np.float32), "a/b", NOW, "public", None)
        assert await failed(index.upsert([point])) == await failed(index.count()) == "DependencyError"
