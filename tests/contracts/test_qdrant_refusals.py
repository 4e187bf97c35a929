"""Refusals of the local Qdrant engine: unsupported requests get Qdrant's statuses and a message."""

from __future__ import annotations

import aiohttp
import pytest
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from tests.contracts.qdrant_rig import SIZE, points


async def test_a_wrong_dimension_is_400_and_stores_nothing(client: AsyncQdrantClient, collection: str) -> None:
    """One bad vector refuses the whole write; a query of another size is refused too."""
    bad = models.PointStruct(id=50, vector=[1.0, 2.0], payload={})
    for call in (
        client.upsert(collection, [*points(3), bad]),
        client.query_points(collection, query=[1.0] * (SIZE + 1)),
    ):
        with pytest.raises(UnexpectedResponse) as raised:
            await call
        assert raised.value.status_code == 400
        assert "expected dim: 4" in raised.value.structured()["status"]["error"]
    assert (await client.count(collection)).count == 0


DOT, INT8 = {"size": 4, "distance": "Dot"}, {"type": "int8", "always_ram": True}
QUERY, POINTS, SCROLL = "/points/query", "/points?wait=true", "/points/scroll"
REFUSED: list[tuple[str, str, bytes, int]] = [
    ("POST", QUERY, b"", 400),
    ("POST", QUERY, b"[]", 400),
    ("POST", QUERY, b'{"query":[1,2,3,NaN]}', 400),
    ("POST", QUERY, b'{"query":[1,2,3,1e300]}', 400),
    ("POST", QUERY, b'{"query":[1,2,3,null]}', 400),
    ("POST", QUERY, b'{"query":[1,2,3,true]}', 400),
    ("POST", QUERY, b'{"query":[1,2,3,4],"limit":0}', 422),
    ("POST", QUERY, b'{"query":[1,2,3,4],"limit":"5"}', 400),
    ("POST", QUERY, b'{"query":[1,2,3,4],"score_threshold":"0.5"}', 400),
    ("POST", QUERY, b'{"query":[1,2,3,4],"filter":{"must":[{"key":"a"}]}}', 501),
    ("POST", QUERY, b'{"query":[1,2,3,4],"filter":{"mist":[]}}', 501),
    ("POST", QUERY, b'{"query":[1,2,3,4],"filter":{"must":[{"key":"a","match":{"text":"x"}}]}}', 501),
    ("POST", QUERY, b'{"query":[1,2,3,4],"filter":{"must":[{"key":"a","match":{"value":1.5}}]}}', 400),
    ("POST", QUERY, b'{"query":[1,2,3,4],"filter":{"must":[{"key":"a","range":{"gte":"2024-01-01"}}]}}', 501),
    ("POST", QUERY, b'{"query":[1,2,3,4],"params":{"quantization":{"oversampling":0.5}}}', 422),
    ("POST", QUERY, b'{"query":[1,2,3,4],"params":{"quantization":{"rescore":1}}}', 400),
    ("POST", QUERY, b'{"query":[1,2,3,4],"params":{"acorn":{}}}', 501),
    ("POST", QUERY, b'{"query":7}', 400),
    ("POST", QUERY, b'{"query":[1,2,3,4],"filter":{"should":[]}}', 501),
    ("POST", QUERY, b'{"query":[1,2,3,4],"filter":{"must":[{"is_empty":{"key":"arm"}}]}}', 501),
    ("POST", QUERY, b'{"query":[1,2,3,4],"prefetch":[{}]}', 501),
    ("POST", QUERY, b'{"query":[1,2,3,4],"using":"other"}', 501),
    ("PUT", POINTS, b'{"points":[]}', 400),
    ("PUT", POINTS, b'{"points":[{"id":"nonsense","vector":[1,2,3,4]}]}', 400),
    ("PUT", POINTS, b'{"points":[{"id":-1,"vector":[1,2,3,4]}]}', 400),
    ("PUT", POINTS, b'{"points":[{"id":1,"vector":{"collection":[1,2,3,4]}}]}', 501),
    ("PUT", POINTS, b'{"points":[{"id":1,"vector":[1,2,3,4],"payload":7}]}', 400),
    ("PUT", POINTS, b'{"batch":{"ids":[1],"vectors":[[1,2,3,4]]}}', 501),
    ("POST", "/points/delete", b"{}", 400),
    ("POST", SCROLL, b'{"offset":"nonsense"}', 400),
    ("PUT", "/index", b'{"field_name":"a","field_schema":"text"}', 501),
    ("POST", "/facet", b'{"key":"a"}', 501),
    ("POST", "/points/payload", b'{"payload":{},"points":[1]}', 501),
    ("POST", "/points", b'{"ids":[1]}', 501),
    ("POST", "/points/query/groups", b"{}", 501),
    ("PATCH", "", b"{}", 501),
    ("GET", "/snapshots", b"", 501),
]


async def test_what_is_not_understood_is_refused(client: AsyncQdrantClient, collection: str, qdrant_url: str) -> None:
    """Malformed is 400, out of range 422, unsupported 501, each with a message; never a wrong result, never a 500."""
    async with aiohttp.ClientSession() as session:
        for method, path, body, status in REFUSED:
            async with session.request(method, f"{qdrant_url}/collections/{collection}{path}", data=body) as answer:
                told = await answer.json()
                assert answer.status == status, (method, path, body, told)
                assert told["status"]["error"]
                assert "result" not in told
    assert (await client.count(collection)).count == 0


@pytest.mark.parametrize(
    ("config", "status"),
    [
        ({"vectors": {"size": 4, "distance": "Hamming"}}, 400),
        ({"vectors": {"size": 0, "distance": "Dot"}}, 422),
        ({"vectors": {"text": {"size": 4, "distance": "Dot"}}}, 501),
        ({"vectors": {"size": 4, "distance": "Dot"}, "sparse_vectors": {"a": {}}}, 501),
        ({"vectors": {"size": 4, "distance": "Dot"}, "shard_number": 2}, 501),
        ({"vectors": DOT, "quantization_config": {"binary": {"always_ram": True}}}, 501),
        ({"vectors": DOT, "quantization_config": {"scalar": {"type": "int8"}}}, 501),
        ({"vectors": DOT, "quantization_config": {"scalar": {**INT8, "quantile": 0.2}}}, 422),
        ({"vectors": DOT, "optimizers_config": {"indexing_threshold": 0}}, 422),
        ({"vectors": DOT, "optimizers_config": {"max_segment_size": 1}}, 501),
        ({}, 400),
    ],
)
async def test_a_collection_that_we_cannot_keep_is_refused(
    qdrant_url: str, config: dict[str, object], status: int
) -> None:
    """A set-up with parts that this engine lacks fails immediately instead of answering differently later."""
    async with aiohttp.ClientSession() as session:
        async with session.put(f"{qdrant_url}/collections/refused", json=config) as answer:
            assert answer.status == status
        async with session.get(f"{qdrant_url}/collections/refused") as answer:
            assert answer.status == 404


async def test_health_and_version(client: AsyncQdrantClient, qdrant_url: str) -> None:
    """The health route, and the version that clients check."""
    assert (await client.info()).version.startswith("1.")
    async with aiohttp.ClientSession() as session, session.get(f"{qdrant_url}/readyz") as answer:
        assert answer.status == 200
