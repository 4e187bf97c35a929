"""The contract of `RequestIndex`, on the fake and on Qdrant: the local engine, or a server named by QDRANT_TEST_URL."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import numpy as np
import pytest

from shared.bandit.context import Vector
from shared.errors import DependencyError
from shared.ports import RequestIndex
from shared.quick_http import QuickHttp
from shared.schemas.storage import EmbeddingModel, Point
from shared.storage.qdrant_index import QdrantIndex
from tests.contracts.index_rig import DIMENSION, MODEL, NOW, near, point, vector
from tests.support.fakes.request_index import FakeRequestIndex


@pytest.fixture
async def fake() -> FakeRequestIndex:
    index = FakeRequestIndex()
    await index.prepare(MODEL)
    return index


@pytest.fixture(params=["fake", "real"])
def index(request: pytest.FixtureRequest) -> RequestIndex:
    chosen: RequestIndex = request.getfixturevalue(request.param)
    return chosen


async def test_neighbours_carry_what_a_decision_needs(index: RequestIndex) -> None:
    """A neighbour names its request, the arm that answered, the score it got, and how similar it is."""
    stored = point(vector(1, 1), score=0.25, arm="provider/model:free")
    await index.upsert([stored])
    (found,) = await near(index, vector(1, 0))
    assert (found.request_id, found.arm, found.score) == (stored.request_id, "provider/model:free", 0.25)
    assert found.similarity == pytest.approx(np.sqrt(0.5), abs=1e-5)


async def test_an_unrated_request_is_stored_but_no_neighbour(index: RequestIndex) -> None:
    """Missing feedback is missing, never zero: only rated requests are evidence."""
    await index.upsert([point(vector(1), score=None), point(vector(1), score=0.0)])
    assert [each.score for each in await near(index, vector(1))] == [0.0]
    assert await index.count() == 2


async def test_a_later_rating_replaces_the_point(index: RequestIndex) -> None:
    """The same id again replaces, so a label, or a revised one, shows as soon as `upsert` returns."""
    first = point(vector(1), score=None)
    await index.upsert([first])
    for score in (1.0, 0.0):
        await index.upsert([Point(first.request_id, first.vector, first.arm, first.created_at, first.owner, score)])
        assert [each.score for each in await near(index, vector(1))] == [score]
    assert await index.count() == 1


async def test_threshold_and_order(index: RequestIndex) -> None:
    """Only what is similar enough comes back, nearest first, and never above a similarity of 1."""
    await index.upsert([point(vector(1, tilt)) for tilt in (3, 0, 0.5, 1)])
    found = [each.similarity for each in await near(index, vector(1), threshold=0.6)]
    assert len(found) == 3
    assert found == sorted(found, reverse=True)
    assert found[0] <= 1.0
    assert found[-1] >= 0.6


async def test_limit_keeps_the_nearest(index: RequestIndex) -> None:
    """With more neighbours than `limit`, the far ones are dropped."""
    points = [point(vector(1, 0.1 * step)) for step in range(6)]
    await index.upsert(points)
    assert [each.request_id for each in await near(index, vector(1), limit=2)] == [
        each.request_id for each in points[:2]
    ]


async def test_the_recency_window(index: RequestIndex) -> None:
    """A request older than `since` is no neighbour; one of that very second is."""
    young, old = point(vector(1), age_s=10), point(vector(1), age_s=1000)
    await index.upsert([young, old])
    assert [each.request_id for each in await near(index, vector(1), since=NOW - 500)] == [young.request_id]
    assert len(await near(index, vector(1), since=NOW - 1000)) == 2


async def test_forgetting(index: RequestIndex) -> None:
    """Points leave by age and by id, one of the very second stays; unknown ids are no error."""
    points = [point(vector(1), age_s=age_s) for age_s in (0, 75, 100, 150)]
    await index.upsert(points)
    await index.delete_before(NOW - 75)
    assert await index.count() == 2
    await index.delete([points[0].request_id, str(uuid.uuid4())])
    await index.delete([])
    assert [each.request_id for each in await near(index, vector(1))] == [points[1].request_id]


async def test_nothing_stored_is_no_neighbours(index: RequestIndex) -> None:
    """An empty index is a normal state, not an error; so is an empty write."""
    await index.upsert([])
    assert await near(index, vector(1)) == ()
    assert await index.count() == 0


@pytest.mark.parametrize("bad", [np.ones(3, np.float32), np.full(DIMENSION, np.nan, np.float32)], ids=["size", "nan"])
async def test_a_bad_vector_is_refused_and_never_stored(index: RequestIndex, bad: Vector) -> None:
    """An embedder that lies about its vectors cannot spoil the index."""
    with pytest.raises(DependencyError):
        await index.upsert([point(bad)])
    with pytest.raises(DependencyError):
        await near(index, bad)
    assert await index.count() == 0


async def test_preparing_again_keeps_the_points(index: RequestIndex) -> None:
    """`prepare` finds what is there."""
    await index.upsert([point(vector(1))])
    await index.prepare(MODEL)
    assert await index.count() == 1


async def test_vectors_of_two_models_never_mix(index: RequestIndex, fresh_model: EmbeddingModel) -> None:
    """Another model starts with an empty index; going back finds the old one."""
    await index.upsert([point(vector(1))])
    await index.prepare(fresh_model)
    assert await index.count() == 0
    await index.prepare(MODEL)
    assert await index.count() == 1


async def test_ping_names_a_version(index: RequestIndex) -> None:
    """`/health` shows the version of what answers."""
    assert await index.ping()


@pytest.mark.parametrize("make", [FakeRequestIndex, None], ids=["fake", "real"])
async def test_before_prepare_there_is_no_answer(make: Callable[[], RequestIndex] | None, http: QuickHttp) -> None:
    """Using the index too early costs context like any other failure."""
    index = make() if make else QdrantIndex(http, None, 1.0)
    for call in (near(index, vector(1)), index.upsert([point(vector(1))]), index.count()):
        with pytest.raises(DependencyError):
            await call


async def test_a_label_is_put_to_points_that_are_there(index: RequestIndex) -> None:
    """A later rating, when the vector is nowhere else; no point is made for an unknown id."""
    first, other = (point(vector(1), score=score) for score in (0.5, 1.0))
    await index.upsert([first, other])
    await index.label({first.request_id: 0.25, str(uuid.uuid4()): 0.25})
    found = {each.request_id: each.score for each in await near(index, vector(1))}
    assert found == {first.request_id: 0.25, other.request_id: 1.0}
    assert await index.count() == 2


async def test_a_point_without_a_score_is_no_neighbour_until_it_has_one(index: RequestIndex) -> None:
    """A rating was withdrawn; the vector stays for the next one."""
    first, other = (point(vector(1), score=score) for score in (0.5, 1.0))
    await index.upsert([first, other])
    await index.label({first.request_id: None})
    assert [each.request_id for each in await near(index, vector(1))] == [other.request_id]
    await index.label({first.request_id: 0.75})
    found = {each.request_id: each.score for each in await near(index, vector(1))}
    assert found == {first.request_id: 0.75, other.request_id: 1.0}
