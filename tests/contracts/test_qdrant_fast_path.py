"""The local Qdrant engine answers the same by its fast path as by aiohttp, and the adapter keeps its connections."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from qdrant_client import AsyncQdrantClient

from deploy.qdrant_engine.collections import Collections
from deploy.qdrant_engine.fast_routes import FastRoutes
from shared.quick_http import QuickHttp
from shared.quick_http.replies import Reply
from shared.storage.qdrant_index import QdrantIndex
from tests.contracts.index_rig import DIMENSION, MODEL, NOW, near, point, vector
from tests.contracts.qdrant_rig import SIZE, VECTORS
from tests.contracts.test_qdrant_refusals import POINTS, QUERY, REFUSED

WANTED = b'{"query":[1,2,3,4],"limit":2,"with_payload":["at"],"with_vector":true}'


@pytest.fixture
async def plain(client: AsyncQdrantClient) -> AsyncIterator[str]:
    """A collection whose name stands in a path as it is."""
    name = f"plain_{uuid.uuid4().hex[:8]}"
    await client.create_collection(name, VECTORS)
    yield name
    await client.delete_collection(name)


@pytest.fixture
async def engine(qdrant_url: str) -> AsyncIterator[QuickHttp]:
    async with QuickHttp(qdrant_url) as opened:
        yield opened


async def both(http: QuickHttp, method: str, path: str, body: bytes) -> list[tuple[int, dict[str, object]]]:
    """Return status and body of the answer by the fast path, and by aiohttp, which gets what closes its connection."""
    replies = [await http.request(method, path, body, headers) for headers in ({}, {"connection": "close"})]
    return [(reply.status, orjson.loads(reply.body) | {"time": 0}) for reply in replies]


async def test_both_ways_answer_alike(engine: QuickHttp, plain: str) -> None:
    """Found points, stored points, and every refusal."""
    row = {"id": str(uuid.uuid4()), "vector": [1.0] * SIZE, "payload": {"at": 3, "left": "out"}}
    stored = await engine.request("PUT", f"/collections/{plain}{POINTS}", orjson.dumps({"points": [row]}))
    assert orjson.loads(stored.body)["result"]["status"] == "completed"
    quick, slow = await both(engine, "POST", f"/collections/{plain}{QUERY}", WANTED)
    assert quick == slow
    assert quick[0] == 200
    one, several = quick, b'{"searches":[%b,%b]}' % (WANTED, WANTED)
    quick, slow = await both(engine, "POST", f"/collections/{plain}{QUERY}/batch", several)
    assert quick == slow == (200, {**one[1], "result": [one[1]["result"]] * 2})
    for method, path, body, status in REFUSED:
        if path in (QUERY, POINTS):
            quick, slow = await both(engine, method, f"/collections/{plain}{path}", body)
            assert quick == slow
            assert quick[0] == status
        if path == QUERY and body:
            several = b'{"searches":[%b,%b]}' % (WANTED, body)
            quick, slow = await both(engine, method, f"/collections/{plain}{QUERY}/batch", several)
            assert quick == slow
            assert quick[0] == status
    quick, slow = await both(engine, "POST", f"/collections/no{plain}{QUERY}", WANTED)
    assert quick == slow
    assert quick[0] == 404


async def test_the_fast_path_knows_what_stands_in_a_path_as_it_is(tmp_path: Path) -> None:
    """Other names, other routes and what is no collection are left to aiohttp."""
    collections = Collections(tmp_path)
    for name in ("here", "w%20"):
        await collections.create(name, {"vectors": {"size": SIZE, "distance": "Dot"}})
    routes = FastRoutes(collections)
    assert b"POST /collections/here/points/query HTTP/1.1" in routes
    assert b"POST /collections/here/points/query/batch HTTP/1.1" in routes
    assert b"PUT /collections/here/points?wait=true HTTP/1.1" in routes
    for line in (b"POST /collections/gone/points/query", b"POST /collections/w%20/points/query",
                 b"PUT /collections/here/points", b"PUT /collections/here/points/query",
                 b"POST /collections/here/points/scroll", b"GET /collections/here"):  # fmt: skip
        assert line + b" HTTP/1.1" not in routes
    await collections.close()


class Told(QuickHttp):
    """Remembers where requests go, and which of them leave their connection open."""

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url)
        self.kept: list[bool] = []
        self.paths: list[str] = []

    async def request(self, *args: Any, **options: Any) -> Reply:
        self.kept.append("connection" not in args[3])
        self.paths.append(args[1].rpartition("/points")[2])
        return await super().request(*args, **options)


async def test_every_call_keeps_its_connection(qdrant_url: str) -> None:
    """Searches, upserts and everything else."""
    async with Told(qdrant_url) as http:
        index = QdrantIndex(http, None, 5.0)
        await index.prepare(MODEL)
        await index.ping()
        await index.count()
        await index.upsert([point(vector(1))])
        await near(index, vector(1))
        assert len(http.kept) >= 5
        await asyncio.gather(*(near(index, vector(1)) for _ in range(9)))
        assert all(http.kept)


async def test_searches_of_several_requests_go_together(qdrant_url: str) -> None:
    """Searches that come while one is in flight share a call, and each gets what a search alone would have found."""
    async with Told(qdrant_url) as http:
        index = QdrantIndex(http, None, 5.0)
        await index.prepare(MODEL)
        await index.delete_before(NOW + 1000)
        await index.upsert([point(vector(*row), age_s=age) for age, row in enumerate(np.eye(DIMENSION)[:5])])
        wanted = [vector(*row) for row in np.eye(DIMENSION)[:6]]  # the last one is like nothing
        alone = [await near(index, one) for one in wanted]
        assert [len(found) for found in alone] == [1, 1, 1, 1, 1, 0]
        http.paths.clear()
        assert await asyncio.gather(*(near(index, one) for one in wanted)) == alone
        assert http.paths == ["/query", "/query/batch"]


async def test_who_is_in_a_hurry_searches_alone(qdrant_url: str) -> None:
    """It does not wait for others, and no other search ends because its time is over."""
    async with Told(qdrant_url) as http:
        index = QdrantIndex(http, None, 5.0)
        await index.prepare(MODEL)
        for _ in range(9):
            await near(index, vector(1))  # tells how quick it is
        http.paths.clear()
        search = partial(index.neighbours, vector(1), limit=1, threshold=0.5, since=0.0)
        await asyncio.gather(search(), search(within_s=1.0), search(within_s=60.0), search())
        assert sorted(http.paths) == ["/query", "/query", "/query/batch"]
