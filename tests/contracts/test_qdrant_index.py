"""`RequestIndex` on Qdrant: exact against numpy, safe for concurrent starts, and strict with wrong answers."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence

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
from shared.quick_http import QuickHttp
from shared.schemas.storage import EmbeddingModel, Point
from shared.storage.qdrant_index import QdrantIndex, collection_name
from tests.contracts.index_rig import DIMENSION, MODEL, NOW, near, point, vector


async def test_four_concurrent_creators(
    server: str, session: aiohttp.ClientSession, http: QuickHttp, fresh_model: EmbeddingModel
) -> None:
    """Gateways and learners that start together all find one complete collection, on a loaded machine, too."""
    indexes = [QdrantIndex(http, None, 5.0) for _ in range(4)]
    await asyncio.gather(*(index.prepare(fresh_model) for index in indexes))
    await indexes[0].upsert([point(vector(1))])
    assert [await index.count() for index in indexes] == [1] * 4
    async with session.get(f"{server}/collections/{collection_name(fresh_model)}") as answer:
        described = (await answer.json())["result"]
    assert set(described["payload_schema"]) == {"labelled", "created_at", "owner"}


@pytest.mark.parametrize("status", [400, 404, 409, 500])
@pytest.mark.parametrize("refused", ["", "/index"])
async def test_a_set_up_that_is_refused_once_is_repeated(
    server: str, session: aiohttp.ClientSession, fresh_model: EmbeddingModel, refused: str, status: int
) -> None:
    """A Qdrant that is starting, or at which another process creates the same, refuses now what it takes later."""
    left = [status]

    async def handle(request: web.Request) -> web.Response:
        if request.method == "PUT" and request.path.endswith(f"{collection_name(fresh_model)}{refused}") and left:
            return web.Response(status=left.pop(), body=b"{}")
        async with session.request(request.method, server + request.path_qs, data=await request.read()) as honest:
            return web.Response(status=honest.status, body=await honest.read())

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handle)
    async with TestServer(app) as proxy, QuickHttp(str(proxy.make_url("/"))) as http:
        index = QdrantIndex(http, None, 5.0)
        await index.prepare(fresh_model)
        assert not left
        await index.upsert([point(vector(1))])
        assert await index.count() == 1


async def test_payload_is_ids_and_numbers_only(real: QdrantIndex, server: str, session: aiohttp.ClientSession) -> None:
    """Nothing in Qdrant reveals a prompt."""
    await real.upsert([point(vector(1), score=None), point(vector(1), score=1.0)])
    async with session.post(f"{server}/collections/{collection_name(MODEL)}/points/scroll", json={}) as answer:
        points = (await answer.json())["result"]["points"]
    assert sorted(sorted(each["payload"]) for each in points) == [
        ["arm", "created_at", "labelled", "owner"],
        ["arm", "created_at", "labelled", "owner", "score"],
    ]


async def test_an_emptied_qdrant_heals(
    server: str, session: aiohttp.ClientSession, http: QuickHttp, fresh_model: EmbeddingModel
) -> None:
    """When the collection is deleted, reads fail as a dependency and the next write makes a new one."""
    index = QdrantIndex(http, None, 5.0)
    await index.prepare(fresh_model)
    async with session.delete(f"{server}/collections/{collection_name(fresh_model)}"):
        pass
    with pytest.raises(DependencyError):
        await near(index, vector(1))
    await index.upsert([point(vector(1))])
    assert len(await near(index, vector(1))) == 1


async def test_a_collection_of_other_vectors_is_refused(
    server: str, session: aiohttp.ClientSession, http: QuickHttp, fresh_model: EmbeddingModel
) -> None:
    """A collection of that name with another dimension is an error at the start, not a wrong neighbour later."""
    url = f"{server}/collections/{collection_name(fresh_model)}"
    async with session.put(url, json={"vectors": {"size": DIMENSION + 1, "distance": "Cosine"}}) as answer:
        assert answer.status == 200
    with pytest.raises(DependencyError, match="expected Cosine of 8"):
        await QdrantIndex(http, None, 5.0).prepare(fresh_model)


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


async def test_a_port_without_a_listener(unused_tcp_port: int) -> None:
    """A refused connection is a DependencyError immediately."""
    started = time.monotonic()
    with pytest.raises(DependencyError):
        await QdrantIndex(QuickHttp(f"http://127.0.0.1:{unused_tcp_port}"), None, 0.2).prepare(MODEL)
    assert time.monotonic() - started < 2


PAYLOAD = {"arm": "a/b", "score": 0.5, "created_at": 7}
GOOD = {"id": str(uuid.UUID(int=1)), "version": 1, "score": 0.9, "payload": PAYLOAD}


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
    "no arm": answer({**GOOD, "payload": {"score": 0.5, "created_at": 7}}),
    "arm not text": answer({**GOOD, "payload": {**PAYLOAD, "arm": 7}}),
    "no score": answer({**GOOD, "payload": {"arm": "a/b", "created_at": 7}}),
    "score a boolean": answer({**GOOD, "payload": {**PAYLOAD, "score": True}}),
    "score above 1": answer({**GOOD, "payload": {**PAYLOAD, "score": 1.01}}),
    "score below 0": answer({**GOOD, "payload": {**PAYLOAD, "score": -0.01}}),
    "score huge": answer(GOOD).replace(b"0.5", b"1e999"),
    "no time": answer({**GOOD, "payload": {"arm": "a/b", "score": 0.5}}),
    "time a text": answer({**GOOD, "payload": {**PAYLOAD, "created_at": "7"}}),
    "similarity above 1": answer({**GOOD, "score": 1.5}),
    "similarity text": answer({**GOOD, "score": "0.9"}),
    "similarity a boolean": answer({**GOOD, "score": True}),
    "similarity below -1": answer({**GOOD, "score": -1.5}),
    "score a list": answer({**GOOD, "payload": {**PAYLOAD, "score": [0.5]}}),
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
        if not request.path.endswith(("/query", "/batch")):
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
    async with QuickHttp(str(proxy.make_url("/"))) as http:
        index = QdrantIndex(http, "a-key", 0.2)
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


@pytest.mark.parametrize("results", [{"points": []}, [], [{"points": []}], [{"points": []}] * 3, [None, None]])
async def test_lies_of_several_are_refused(liar: Liar, results: object) -> None:
    """Searches that went together fail together, where there are not as many answers as searches."""
    index, say = liar
    for _ in range(9):
        await near(index, vector(1))  # tells how quick it is
    say["now"] = (200, orjson.dumps({"result": results, "status": "ok", "time": 0.1}))
    found = await asyncio.gather(*(near(index, vector(1)) for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in found[1:]] == [DependencyError] * 2  # the first one went alone


async def test_what_json_and_rounding_do_to_numbers_is_no_lie(liar: Liar) -> None:
    """1.0 may come as 1, and the cosine of a vector with itself as a little more; both are plain floats afterwards."""
    index, say = liar
    points = ({**GOOD, "score": 1.0000001}, {**GOOD, "score": 1, "payload": {**PAYLOAD, "score": 1}}, GOOD)
    say["now"] = (200, answer(*points))
    found = await near(index, vector(1))
    assert [(one.similarity, one.score) for one in found] == [(1.0, 0.5), (1.0, 1.0), (0.9, 0.5)]
    assert {type(number) for one in found for number in (one.similarity, one.score)} == {float}


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
