"""The local Qdrant engine through the official client: it behaves as a Qdrant server does."""

from __future__ import annotations

import asyncio
import uuid

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from tests.contracts.qdrant_rig import LABELLED, SIZE, VECTORS, points


async def stored(client: AsyncQdrantClient, name: str, *conditions: models.Condition) -> list[models.Record]:
    found, _ = await client.scroll(name, models.Filter(must=list(conditions)), limit=100, with_vectors=True)
    return found


# -- collections -------------------------------------------------------------------------------------------------


async def test_a_collection_is_what_was_requested(client: AsyncQdrantClient, collection: str) -> None:
    """Size, distance and payload indexes read back as they were set."""
    for field, kind in (("labelled", "bool"), ("at", "integer"), ("owner", "keyword")):
        await client.create_payload_index(collection, field, models.PayloadSchemaType(kind))
        await client.create_payload_index(collection, field, models.PayloadSchemaType(kind))
    described = await client.get_collection(collection)
    assert described.config.params.vectors == VECTORS
    assert {key: index.data_type.value for key, index in described.payload_schema.items()} == {
        "labelled": "bool",
        "at": "integer",
        "owner": "keyword",
    }
    assert described.status == models.CollectionStatus.GREEN


async def test_a_missing_collection_is_404_on_every_route(client: AsyncQdrantClient) -> None:
    """A request before the collection is created gets 404, and `delete` returns false."""
    assert not await client.delete_collection("missing")
    calls = [
        client.get_collection("missing"),
        client.query_points("missing", query=[1.0] * SIZE),
        client.upsert("missing", points(1)),
        client.delete("missing", [1]),
        client.scroll("missing"),
        client.count("missing"),
        client.create_payload_index("missing", "a", models.PayloadSchemaType.BOOL),
    ]
    for call in calls:
        with pytest.raises(UnexpectedResponse) as raised:
            await call
        assert raised.value.status_code == 404
        assert "doesn't exist" in raised.value.structured()["status"]["error"]


async def test_four_creators_race(client: AsyncQdrantClient) -> None:
    """Of four concurrent creations one wins and three get 409; the collection works."""
    results = await asyncio.gather(
        *(client.create_collection("race", VECTORS) for _ in range(4)), return_exceptions=True
    )
    lost = [each for each in results if isinstance(each, UnexpectedResponse)]
    assert results.count(True) == 1
    assert [each.status_code for each in lost] == [409] * 3
    await client.upsert("race", points(3))
    assert (await client.count("race")).count == 3
    await client.delete_collection("race")


async def test_a_deleted_collection_leaves_nothing(client: AsyncQdrantClient, collection: str) -> None:
    """The name is free immediately, and a new collection of that name is empty."""
    await client.upsert(collection, points(5))
    assert await client.delete_collection(collection)
    await client.create_collection(collection, VECTORS)
    assert (await client.count(collection)).count == 0


# -- points ----------------------------------------------------------------------------------------------------------


async def test_an_upsert_replaces(client: AsyncQdrantClient, collection: str) -> None:
    """An upsert of a stored id, a number or a UUID, replaces vector and payload."""
    own = str(uuid.uuid4())
    first = models.PointStruct(id=7, vector=[0, 3, 0, 0], payload={"old": 1})
    await client.upsert(collection, [models.PointStruct(id=own, vector=[2, 0, 0, 0], payload={"a": 1}), first])
    await client.upsert(collection, [models.PointStruct(id=7, vector=[0, 0, 1, 0], payload={"b": [1, {"c": None}]})])
    found = {each.id: each for each in await stored(client, collection)}
    assert set(found) == {own, 7}
    assert (found[own].payload, found[7].payload) == ({"a": 1}, {"b": [1, {"c": None}]})
    assert found[own].vector == [1, 0, 0, 0]  # cosine collections store unit vectors, as Qdrant does
    assert found[7].vector == [0, 0, 1, 0]


async def test_deleting_by_id_and_by_filter(client: AsyncQdrantClient, collection: str) -> None:
    """Unknown ids are no error; a filter takes exactly what it matches."""
    await client.upsert(collection, points(6))
    await client.delete(collection, [0, 99])
    await client.delete(collection, models.Filter(must=[models.FieldCondition(key="at", range=models.Range(lt=3))]))
    assert [each.id for each in await stored(client, collection)] == [3, 4, 5]


# -- searching -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("indexed", [False, True])
async def test_filtered_query_with_threshold(client: AsyncQdrantClient, collection: str, indexed: bool) -> None:
    """Filter, threshold, limit and offset hold together, nearest first, with and without payload indexes."""
    if indexed:
        await client.create_payload_index(collection, "labelled", models.PayloadSchemaType.BOOL)
        await client.create_payload_index(collection, "at", models.PayloadSchemaType.INTEGER)
    await client.upsert(collection, points(12))
    recent = models.FieldCondition(key="at", range=models.Range(gte=3))
    axis, both = [1.0, 0.0, 0.0, 0.0], models.Filter(must=[LABELLED, recent])
    found = (
        await client.query_points(collection, axis, query_filter=both, score_threshold=0.7, with_payload=["at"])
    ).points
    assert [each.id for each in found] == [3, 5, 7, 9]
    assert [each.score for each in found] == pytest.approx([1 / np.hypot(1, each / 10) for each in (3, 5, 7, 9)])
    assert found[0].payload == {"at": 3}
    page = await client.query_points(
        collection, axis, query_filter=both, limit=2, offset=1, with_payload=False, with_vectors=True
    )
    paged = page.points
    assert [each.id for each in paged] == [5, 7]
    assert paged[0].payload is None
    assert np.linalg.norm(np.array(paged[0].vector)) == pytest.approx(1)
    batch = await client.query_batch_points(collection, [models.QueryRequest(query=[1.0, 0, 0, 0], limit=1)] * 2)
    assert [[each.id for each in answer.points] for answer in batch] == [[0], [0]]


async def test_conditions_match_as_documented(client: AsyncQdrantClient, collection: str) -> None:
    """Match and range select what Qdrant documents; a boolean is not the integer 1."""
    payloads: list[dict[str, object]] = [
        {"kind": "a", "n": 1, "flag": True},
        {"kind": "b", "n": 2, "flag": False},
        {"kind": "c", "n": 3, "flag": 1},
        {"kind": None},
        {"deep": {"n": 5}},
    ]
    await client.upsert(
        collection,
        [models.PointStruct(id=each, vector=[1, 0, 0, 0], payload=load) for each, load in enumerate(payloads)],
    )
    expected: list[tuple[str, dict[str, object], list[int]]] = [
        ("kind", {"match": models.MatchValue(value="a")}, [0]),
        ("n", {"match": models.MatchValue(value=2)}, [1]),
        ("flag", {"match": models.MatchValue(value=True)}, [0]),
        ("flag", {"match": models.MatchValue(value=False)}, [1]),
        ("flag", {"match": models.MatchValue(value=1)}, [2]),
        ("n", {"range": models.Range(gt=1, lte=3)}, [1, 2]),
        ("n", {"range": models.Range(gte=1, lt=3)}, [0, 1]),
        ("deep.n", {"match": models.MatchValue(value=5)}, [4]),
    ]
    for key, test, wanted in expected:
        condition = models.FieldCondition(key=key, **test)
        assert [each.id for each in await stored(client, collection, condition)] == wanted, condition
        counted = await client.count(collection, models.Filter(must=[condition]))
        assert counted.count == len(wanted), condition


async def test_scrolling_sees_every_point_once(client: AsyncQdrantClient, collection: str) -> None:
    """Page after page until there is no next offset; ordered scrolls follow an index."""
    await client.upsert(collection, points(25))
    seen, offset = [], None
    while True:
        page, offset = await client.scroll(collection, limit=10, offset=offset, with_payload=False)
        seen += [each.id for each in page]
        if offset is None:
            break
    assert seen == list(range(25))
    await client.create_payload_index(collection, "at", models.PayloadSchemaType.INTEGER)
    newest, _ = await client.scroll(
        collection, limit=3, order_by=models.OrderBy(key="at", direction=models.Direction.DESC)
    )
    assert [each.id for each in newest] == [24, 23, 22]
