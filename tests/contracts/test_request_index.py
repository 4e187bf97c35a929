"""The contract of `RequestIndex`, on the fake and on Qdrant: the local engine, or a server named by QDRANT_TEST_URL."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence

import aiohttp
import numpy as np
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.bandit.context import Neighbour, Vector
from shared.errors import DependencyError
from shared.ports import RequestIndex
from shared.schemas.storage import EmbeddingModel, Point
from shared.storage.qdrant_index import QdrantIndex, collection_name
from tests.fakes.request_index import FakeRequestIndex

DIMENSION = 8
NOW = 1_795_000_000.25


MODEL = EmbeddingModel("test/contract", DIMENSION)


@pytest.fixture
async def fresh_model(server: str, session: aiohttp.ClientSession) -> AsyncIterator[EmbeddingModel]:
    """A model without a collection."""
    model = EmbeddingModel(f"test/{uuid.uuid4().hex[:8]}", DIMENSION)
    yield model
    async with session.delete(f"{server}/collections/{collection_name(model)}"):
        pass


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
def server(qdrant_url: str) -> str:
    return os.environ.get("QDRANT_TEST_URL", qdrant_url)


@pytest.fixture
async def real(server: str, session: aiohttp.ClientSession) -> QdrantIndex:
    """The adapter on an emptied collection; creating one takes longer than a test."""
    index = QdrantIndex(session, server, None, 5.0)
    await index.prepare(MODEL)
    await index.delete_before(2 * NOW)
    return index


@pytest.fixture
async def fake() -> FakeRequestIndex:
    index = FakeRequestIndex()
    await index.prepare(MODEL)
    return index


@pytest.fixture(params=["fake", "real"])
def index(request: pytest.FixtureRequest) -> RequestIndex:
    chosen: RequestIndex = request.getfixturevalue(request.param)
    return chosen


def vector(*head: float) -> Vector:
    row = np.zeros(DIMENSION, dtype=np.float32)
    row[: len(head)] = head
    return row / np.linalg.norm(row)


def point(at: Vector, *, score: float | None = 0.5, age_s: float = 0.0, arm: str = "a/b", own_id: str = "") -> Point:
    return Point(own_id or str(uuid.uuid4()), at, arm, NOW - age_s, "public", score)


async def near(
    index: RequestIndex, at: Vector, *, limit: int = 50, threshold: float = 0.5, since: float = 0.0
) -> tuple[Neighbour, ...]:
    return await index.neighbours(at, limit=limit, threshold=threshold, since=since)


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
    """Points leave by age and by id; ids that nobody knows are no error."""
    points = [point(vector(1), age_s=age_s) for age_s in (0, 50, 100, 150)]
    await index.upsert(points)
    await index.delete_before(NOW - 75)
    assert await index.count() == 2
    await index.delete([points[0].request_id, str(uuid.uuid4())])
    await index.delete([])
    assert [each.request_id for each in await near(index, vector(1))] == [points[1].request_id]


async def test_a_sample_is_the_newest(index: RequestIndex) -> None:
    """Clustering gets the newest vectors, rated or not, and an empty array of the right width from an empty index."""
    assert (await index.sample(5)).shape == (0, DIMENSION)
    await index.upsert([point(vector(1, age), score=None if age % 2 else 0.5, age_s=age) for age in range(5)])
    sample = await index.sample(3)
    assert sample.dtype == np.float32
    assert sample == pytest.approx(np.array([vector(1, age) for age in range(3)]), abs=1e-6)


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
async def test_before_prepare_there_is_no_answer(
    make: Callable[[], RequestIndex] | None, server: str, session: aiohttp.ClientSession
) -> None:
    """Using the index too early costs context like any other failure."""
    index = make() if make else QdrantIndex(session, server, None, 1.0)
    for call in (near(index, vector(1)), index.upsert([point(vector(1))]), index.count()):
        with pytest.raises(DependencyError):
            await call


# -- what only the real adapter can show ---------------------------------------------------------------------------


async def test_four_creators_at_once(server: str, session: aiohttp.ClientSession, fresh_model: EmbeddingModel) -> None:
    """Gateways and learners that start together all find one complete collection."""
    indexes = [QdrantIndex(session, server, None, 5.0) for _ in range(4)]
    await asyncio.gather(*(index.prepare(fresh_model) for index in indexes))
    await indexes[0].upsert([point(vector(1))])
    assert [await index.count() for index in indexes] == [1] * 4
    async with session.get(f"{server}/collections/{collection_name(fresh_model)}") as answer:
        described = (await answer.json())["result"]
    assert set(described["payload_schema"]) == {"labelled", "created_at", "owner"}


async def test_payload_is_ids_and_numbers_only(real: QdrantIndex, server: str, session: aiohttp.ClientSession) -> None:
    """Nothing in Qdrant says what anybody asked."""
    await real.upsert([point(vector(1), score=None), point(vector(1), score=1.0)])
    async with session.post(f"{server}/collections/{collection_name(MODEL)}/points/scroll", json={}) as answer:
        points = (await answer.json())["result"]["points"]
    assert sorted(sorted(each["payload"]) for each in points) == [
        ["arm", "created_at", "labelled", "owner"],
        ["arm", "created_at", "labelled", "owner", "score"],
    ]


async def test_an_emptied_qdrant_heals(
    server: str, session: aiohttp.ClientSession, fresh_model: EmbeddingModel
) -> None:
    """When somebody deletes the collection, reads fail as a dependency and the next write makes a new one."""
    index = QdrantIndex(session, server, None, 5.0)
    await index.prepare(fresh_model)
    async with session.delete(f"{server}/collections/{collection_name(fresh_model)}"):
        pass
    with pytest.raises(DependencyError):
        await near(index, vector(1))
    await index.upsert([point(vector(1))])
    assert len(await near(index, vector(1))) == 1


async def test_a_collection_of_other_vectors_is_refused(
    server: str, session: aiohttp.ClientSession, fresh_model: EmbeddingModel
) -> None:
    """A collection of that name with another dimension is an error at the start, not a wrong neighbour later."""
    url = f"{server}/collections/{collection_name(fresh_model)}"
    async with session.put(url, json={"vectors": {"size": DIMENSION + 1, "distance": "Cosine"}}) as answer:
        assert answer.status == 200
    with pytest.raises(DependencyError, match="expected Cosine of 8"):
        await QdrantIndex(session, server, None, 5.0).prepare(fresh_model)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 120), threshold=st.floats(-1, 0.9), limit=st.integers(1, 60))
async def test_neighbours_equal_brute_force(
    real: QdrantIndex, seed: int, size: int, threshold: float, limit: int
) -> None:
    """Whatever is stored, the answer is the exact one: same requests as numpy finds, within float tolerance."""
    rng = np.random.default_rng(seed)
    # Few directions, so that scores are dense and ties happen.
    rows = (rng.standard_normal((size, DIMENSION)) + 0.01).astype(np.float32)
    points = [
        Point(
            request_id=str(uuid.UUID(int=int(number))),
            vector=rows[row] / np.linalg.norm(rows[row]),
            arm=f"arm/{row % 3}",
            created_at=NOW - float(rng.integers(0, 100)),
            owner="public",
            score=None if rng.random() < 0.3 else float(rng.random()),
        )
        for row, number in enumerate(rng.choice(10_000, size, replace=False))
    ]
    await real.delete_before(NOW + 1000)
    await real.upsert(points)
    at, since = vector(*rng.standard_normal(DIMENSION)), NOW - 50
    found = await near(real, at, limit=limit, threshold=threshold, since=since)
    check_exact(found, points, at, limit=limit, threshold=threshold, since=since)


def check_exact(
    found: Sequence[Neighbour], points: Sequence[Point], at: Vector, *, limit: int, threshold: float, since: float
) -> None:
    tolerance = 1e-5
    exact = {
        each.request_id: (float(each.vector @ at), each)
        for each in points
        if each.score is not None and int(each.created_at) >= int(since)
    }
    for each in found:
        similarity, stored = exact[each.request_id]
        assert each.similarity == pytest.approx(similarity, abs=tolerance)
        assert each.arm == stored.arm
        assert each.score == pytest.approx(stored.score, abs=1e-12)
    expected = sorted((similarity for similarity, _ in exact.values() if similarity >= threshold), reverse=True)[:limit]
    sure = sum(similarity > threshold + tolerance for similarity in expected)
    assert sure <= len(found) <= limit
    assert [each.similarity for each in found][:sure] == pytest.approx(expected[:sure], abs=tolerance)


# -- a Qdrant that is away, slow or lying -----------------------------------------------------------------------------


async def test_nobody_listens(session: aiohttp.ClientSession, unused_tcp_port: int) -> None:
    """A refused connection is a DependencyError at once."""
    started = time.monotonic()
    with pytest.raises(DependencyError):
        await QdrantIndex(session, f"http://127.0.0.1:{unused_tcp_port}", None, 0.2).prepare(MODEL)
    assert time.monotonic() - started < 2


GOOD = {"id": str(uuid.UUID(int=1)), "version": 1, "score": 0.9, "payload": {"arm": "a/b", "score": 0.5}}


def answer(*points: object) -> bytes:
    return orjson.dumps({"result": {"points": list(points)}, "status": "ok", "time": 0.1})


LIES = {
    "not JSON": b"<html>",
    "empty": b"",
    "NaN": answer(GOOD).replace(b"0.9", b"NaN"),
    "array": b"[]",
    "null result": b'{"result":null,"status":"ok"}',
    "error status": b'{"result":{"points":[]},"status":{"error":"x"}}',
    "no points": b'{"result":{},"status":"ok"}',
    "points not a list": b'{"result":{"points":7},"status":"ok"}',
    "no payload": answer({**GOOD, "payload": None}),
    "no arm": answer({**GOOD, "payload": {"score": 0.5}}),
    "arm not text": answer({**GOOD, "payload": {"arm": 7, "score": 0.5}}),
    "no score": answer({**GOOD, "payload": {"arm": "a/b"}}),
    "score a boolean": answer({**GOOD, "payload": {"arm": "a/b", "score": True}}),
    "score above 1": answer({**GOOD, "payload": {"arm": "a/b", "score": 1.01}}),
    "score below 0": answer({**GOOD, "payload": {"arm": "a/b", "score": -0.01}}),
    "score huge": answer(GOOD).replace(b"0.5", b"1e999"),
    "similarity above 1": answer({**GOOD, "score": 1.5}),
    "similarity text": answer({**GOOD, "score": "0.9"}),
    "numeric id": answer({**GOOD, "id": 7}),
    "wrong order": answer(GOOD, {**GOOD, "score": 0.95}),
    "more than asked for": answer(*[GOOD] * 51),
}


Liar = tuple[QdrantIndex, dict[str, tuple[int, bytes] | None]]


@pytest.fixture
async def liar(session: aiohttp.ClientSession, server: str) -> AsyncIterator[Liar]:
    """A proxy that prepares honestly and then answers what the test says: (status, body), or None to hang."""
    say: dict[str, tuple[int, bytes] | None] = {"now": (200, answer())}

    async def handle(request: web.Request) -> web.Response:
        if not request.path.endswith("/query"):
            url = server + request.path_qs
            async with session.request(request.method, url, data=await request.read()) as honest:
                return web.Response(status=honest.status, body=await honest.read())
        said = say["now"]
        if said is None:
            await asyncio.sleep(60)
        status, body = said or (200, b"")
        return web.Response(status=status, body=body)

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handle)
    proxy = TestServer(app)
    await proxy.start_server()
    index = QdrantIndex(session, str(proxy.make_url("/")), "a-key", 0.2)
    await index.prepare(MODEL)
    yield index, say
    await proxy.close()


async def test_lies_are_refused(liar: Liar) -> None:
    """A malformed or impossible answer is a DependencyError, never a neighbour; the next good answer counts again."""
    index, say = liar
    for name, body in LIES.items():
        say["now"] = (200, body)
        with pytest.raises(DependencyError):
            pytest.fail(f"{name}: {await near(index, vector(1))}")
    say["now"] = (200, answer(GOOD))
    assert len(await near(index, vector(1))) == 1


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 429, 500, 503])
async def test_a_bad_status_is_a_dependency_error(liar: Liar, status: int) -> None:
    """Whatever the status says, the caller sees one kind of error, and no address or key in it."""
    index, say = liar
    say["now"] = (status, b"{}")
    with pytest.raises(DependencyError) as raised:
        await near(index, vector(1))
    assert raised.value.dependency == "qdrant"
    assert "a-key" not in str(raised.value)
    assert "127.0.0.1" not in str(raised.value)


async def test_a_hanging_qdrant_costs_no_more_than_the_timeout(liar: Liar) -> None:
    """`neighbours` never takes longer than it was given."""
    index, say = liar
    say["now"] = None
    started = time.monotonic()
    with pytest.raises(DependencyError):
        await near(index, vector(1))
    assert time.monotonic() - started < 1
