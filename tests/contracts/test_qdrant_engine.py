"""The local Qdrant engine, seen through the official client: what holds of a Qdrant server holds here."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient, models
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from deploy.local.servers import Server, free_port, qdrant_command, running
from deploy.qdrant_engine import files
from deploy.qdrant_engine.collections import Collections
from deploy.qdrant_engine.writes import upsert

SIZE = 4
VECTORS = models.VectorParams(size=SIZE, distance=models.Distance.COSINE)
LABELLED = models.FieldCondition(key="labelled", match=models.MatchValue(value=True))


@pytest.fixture
async def client(qdrant_url: str) -> AsyncIterator[AsyncQdrantClient]:
    """The official client, its version check included: a warning would fail the test."""
    opened = AsyncQdrantClient(url=qdrant_url)
    yield opened
    await opened.close()


@pytest.fixture
async def name(client: AsyncQdrantClient) -> AsyncIterator[str]:
    """A fresh collection."""
    chosen = f"c/{uuid.uuid4().hex[:8]} ü"
    chosen = chosen.replace("/", "-")
    await client.create_collection(chosen, VECTORS)
    yield chosen
    await client.delete_collection(chosen)


def points(number: int) -> list[models.PointStruct]:
    """Points 0, 1, … leaning ever further from the first axis; the odd ones are labelled."""
    return [
        models.PointStruct(id=each, vector=[1, each / 10, 0, 0], payload={"labelled": each % 2 == 1, "at": each})
        for each in range(number)
    ]


async def ids(client: AsyncQdrantClient, name: str, condition: models.Condition) -> list[object]:
    found, _ = await client.scroll(name, models.Filter(must=[condition]), limit=100)
    return [each.id for each in found]


# -- collections -------------------------------------------------------------------------------------------------


async def test_a_collection_is_what_was_asked_for(client: AsyncQdrantClient, name: str) -> None:
    """Size, distance and payload indexes read back as they were set."""
    for field, kind in (("labelled", "bool"), ("at", "integer"), ("owner", "keyword")):
        await client.create_payload_index(name, field, models.PayloadSchemaType(kind))
        await client.create_payload_index(name, field, models.PayloadSchemaType(kind))
    described = await client.get_collection(name)
    assert described.config.params.vectors == VECTORS
    assert {key: index.data_type.value for key, index in described.payload_schema.items()} == {
        "labelled": "bool",
        "at": "integer",
        "owner": "keyword",
    }
    assert described.status == models.CollectionStatus.GREEN
    assert name in [each.name for each in (await client.get_collections()).collections]
    await client.delete_payload_index(name, "owner")
    assert "owner" not in (await client.get_collection(name)).payload_schema


async def test_a_missing_collection_is_404_on_every_route(client: AsyncQdrantClient) -> None:
    """Whoever asks too early hears 404, and `exists` and `delete` say no."""
    assert not await client.collection_exists("missing")
    assert not await client.delete_collection("missing")
    calls = [
        client.get_collection("missing"),
        client.query_points("missing", query=[1.0] * SIZE),
        client.upsert("missing", points(1)),
        client.set_payload("missing", {"a": 1}, points=[1]),
        client.delete("missing", [1]),
        client.scroll("missing"),
        client.count("missing"),
        client.retrieve("missing", [1]),
        client.create_payload_index("missing", "a", models.PayloadSchemaType.BOOL),
    ]
    for call in calls:
        with pytest.raises(UnexpectedResponse) as raised:
            await call
        assert raised.value.status_code == 404
        assert "doesn't exist" in raised.value.structured()["status"]["error"]


async def test_four_creators_race(client: AsyncQdrantClient) -> None:
    """Of four that create at once one wins and three hear 409; the collection works."""
    results = await asyncio.gather(
        *(client.create_collection("race", VECTORS) for _ in range(4)), return_exceptions=True
    )
    lost = [each for each in results if isinstance(each, UnexpectedResponse)]
    assert results.count(True) == 1
    assert [each.status_code for each in lost] == [409] * 3
    await client.upsert("race", points(3))
    assert (await client.count("race")).count == 3
    await client.delete_collection("race")


async def test_a_deleted_collection_leaves_nothing(client: AsyncQdrantClient, name: str) -> None:
    """The name is free at once, and a new collection of that name is empty."""
    await client.upsert(name, points(5))
    assert await client.delete_collection(name)
    await client.create_collection(name, VECTORS)
    assert (await client.count(name)).count == 0


# -- points ----------------------------------------------------------------------------------------------------------


async def test_upsert_in_both_forms(client: AsyncQdrantClient, name: str) -> None:
    """A list of points and columns write the same; the same id again replaces vector and payload."""
    own = str(uuid.uuid4())
    await client.upsert(name, models.Batch(ids=[own, 7], vectors=[[2, 0, 0, 0], [0, 3, 0, 0]], payloads=[{"a": 1}, {}]))
    await client.upsert(name, [models.PointStruct(id=7, vector=[0, 0, 1, 0], payload={"b": [1, {"c": None}]})])
    found = {each.id: each for each in await client.retrieve(name, [own, 7, 8], with_vectors=True)}
    assert set(found) == {own, 7}
    assert (found[own].payload, found[7].payload) == ({"a": 1}, {"b": [1, {"c": None}]})
    assert found[own].vector == [1, 0, 0, 0]  # cosine collections store unit vectors, as Qdrant does
    assert found[7].vector == [0, 0, 1, 0]


async def test_payload_changes(client: AsyncQdrantClient, name: str) -> None:
    """Set merges, overwrite replaces, delete removes keys, clear empties; by id and by filter."""
    await client.upsert(name, points(4))
    await client.set_payload(name, {"extra": 1}, points=[0])
    await client.set_payload(name, {"extra": 2}, points=models.Filter(must=[LABELLED]))
    await client.overwrite_payload(name, {"only": True}, points=[2])
    await client.delete_payload(name, ["at"], points=[3])
    found = {each.id: each.payload for each in await client.retrieve(name, [0, 1, 2, 3])}
    assert found == {
        0: {"labelled": False, "at": 0, "extra": 1},
        1: {"labelled": True, "at": 1, "extra": 2},
        2: {"only": True},
        3: {"labelled": True, "extra": 2},
    }
    await client.clear_payload(name, [0])
    assert (await client.retrieve(name, [0]))[0].payload == {}
    with pytest.raises(UnexpectedResponse) as raised:
        await client.set_payload(name, {"extra": 3}, points=[1, 77])
    assert raised.value.status_code == 404


async def test_batch_updates_run_in_order(client: AsyncQdrantClient, name: str) -> None:
    """One request with several updates applies them one after the other."""
    await client.batch_update_points(
        name,
        [
            models.UpsertOperation(upsert=models.PointsList(points=points(3))),
            models.SetPayloadOperation(set_payload=models.SetPayload(payload={"x": 1}, points=[0, 1, 2])),
            models.DeleteOperation(delete=models.PointIdsList(points=[1])),
        ],
    )
    found = await client.retrieve(name, [0, 1, 2])
    assert [(each.id, (each.payload or {})["x"]) for each in found] == [(0, 1), (2, 1)]


async def test_deleting_by_id_and_by_filter(client: AsyncQdrantClient, name: str) -> None:
    """Unknown ids are no error; a filter takes exactly what it matches."""
    await client.upsert(name, points(6))
    await client.delete(name, [0, 99])
    await client.delete(name, models.Filter(must=[models.FieldCondition(key="at", range=models.Range(lt=3))]))
    assert await ids(client, name, models.HasIdCondition(has_id=list(range(6)))) == [3, 4, 5]


# -- searching -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("indexed", [False, True])
async def test_filtered_query_with_threshold(client: AsyncQdrantClient, name: str, indexed: bool) -> None:
    """Filter, threshold, limit and offset hold together, nearest first, with and without payload indexes."""
    if indexed:
        await client.create_payload_index(name, "labelled", models.PayloadSchemaType.BOOL)
        await client.create_payload_index(name, "at", models.PayloadSchemaType.INTEGER)
    await client.upsert(name, points(12))
    recent = models.FieldCondition(key="at", range=models.Range(gte=3))
    axis, both = [1.0, 0.0, 0.0, 0.0], models.Filter(must=[LABELLED, recent])
    found = (await client.query_points(name, axis, query_filter=both, score_threshold=0.7, with_payload=["at"])).points
    assert [each.id for each in found] == [3, 5, 7, 9]
    assert [each.score for each in found] == pytest.approx([1 / np.hypot(1, each / 10) for each in (3, 5, 7, 9)])
    assert found[0].payload == {"at": 3}
    page = await client.query_points(
        name, axis, query_filter=both, limit=2, offset=1, with_payload=False, with_vectors=True
    )
    paged = page.points
    assert [each.id for each in paged] == [5, 7]
    assert paged[0].payload is None
    assert np.linalg.norm(np.array(paged[0].vector)) == pytest.approx(1)
    batch = await client.query_batch_points(name, [models.QueryRequest(query=[1.0, 0, 0, 0], limit=1)] * 2)
    assert [[each.id for each in answer.points] for answer in batch] == [[0], [0]]


async def test_filters_mean_what_they_mean(client: AsyncQdrantClient, name: str) -> None:
    """Each kind of condition selects what Qdrant documents; a boolean is not the integer 1."""
    payloads: list[dict[str, object]] = [
        {"kind": "a", "n": 1, "flag": True},
        {"kind": "b", "n": 2, "flag": False},
        {"kind": "c", "n": 3, "flag": 1},
        {"kind": None, "list": []},
        {"deep": {"n": 5}, "rows": [{"x": 1, "y": 1}, {"x": 2, "y": 2}]},
    ]
    await client.upsert(
        name, [models.PointStruct(id=each, vector=[1, 0, 0, 0], payload=load) for each, load in enumerate(payloads)]
    )

    def field(key: str, **test: object) -> models.FieldCondition:
        return models.FieldCondition(key=key, **test)

    nested = models.Filter(must=[field("x", match=models.MatchValue(value=1)), field("y", range=models.Range(gte=2))])
    expected: list[tuple[models.Condition, list[int]]] = [
        (field("kind", match=models.MatchValue(value="a")), [0]),
        (field("n", match=models.MatchValue(value=2)), [1]),
        (field("flag", match=models.MatchValue(value=True)), [0]),
        (field("flag", match=models.MatchValue(value=False)), [1]),
        (field("kind", match=models.MatchAny(any=["a", "c"])), [0, 2]),
        (field("n", match=models.MatchAny(any=[])), []),
        (field("kind", match=models.MatchExcept(**{"except": ["a"]})), [1, 2]),
        (field("n", range=models.Range(gt=1, lte=3)), [1, 2]),
        (field("deep.n", match=models.MatchValue(value=5)), [4]),
        (models.IsNullCondition(is_null=models.PayloadField(key="kind")), [3]),
        (models.IsEmptyCondition(is_empty=models.PayloadField(key="n")), [3, 4]),
        (models.HasIdCondition(has_id=[1, 4, 9]), [1, 4]),
        (models.NestedCondition(nested=models.Nested(key="rows", filter=nested)), []),
        (models.Filter(should=[field("n", match=models.MatchValue(value=n)) for n in (1, 3)]), [0, 2]),
        (models.Filter(must_not=[models.IsEmptyCondition(is_empty=models.PayloadField(key="n"))]), [0, 1, 2]),
        (
            models.Filter(
                min_should=models.MinShould(
                    conditions=[
                        field("n", range=models.Range(gte=2)),
                        field("kind", match=models.MatchValue(value="b")),
                    ],
                    min_count=2,
                )
            ),
            [1],
        ),
    ]
    for condition, wanted in expected:
        assert await ids(client, name, condition) == wanted, condition
        counted = await client.count(name, models.Filter(must=[condition]))
        assert counted.count == len(wanted), condition


async def test_scrolling_sees_every_point_once(client: AsyncQdrantClient, name: str) -> None:
    """Page after page until there is no next offset; ordered scrolls follow an index."""
    await client.upsert(name, points(25))
    seen, offset = [], None
    while True:
        page, offset = await client.scroll(name, limit=10, offset=offset, with_payload=False)
        seen += [each.id for each in page]
        if offset is None:
            break
    assert seen == list(range(25))
    await client.create_payload_index(name, "at", models.PayloadSchemaType.INTEGER)
    newest, _ = await client.scroll(name, limit=3, order_by=models.OrderBy(key="at", direction=models.Direction.DESC))
    assert [each.id for each in newest] == [24, 23, 22]


# -- what is wrong -----------------------------------------------------------------------------------------------


async def test_a_wrong_dimension_is_400_and_stores_nothing(client: AsyncQdrantClient, name: str) -> None:
    """One bad vector refuses the whole write; a query of another size is refused too."""
    bad = models.PointStruct(id=50, vector=[1.0, 2.0], payload={})
    for call in (client.upsert(name, [*points(3), bad]), client.query_points(name, query=[1.0] * (SIZE + 1))):
        with pytest.raises(UnexpectedResponse) as raised:
            await call
        assert raised.value.status_code == 400
        assert "expected dim: 4" in raised.value.structured()["status"]["error"]
    assert (await client.count(name)).count == 0


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
    ("POST", QUERY, b'{"query":7}', 501),
    ("POST", QUERY, b'{"query":[1,2,3,4],"prefetch":[{}]}', 501),
    ("POST", QUERY, b'{"query":[1,2,3,4],"using":"other"}', 501),
    ("PUT", POINTS, b'{"points":[]}', 400),
    ("PUT", POINTS, b'{"points":[{"id":"nonsense","vector":[1,2,3,4]}]}', 400),
    ("PUT", POINTS, b'{"points":[{"id":-1,"vector":[1,2,3,4]}]}', 400),
    ("PUT", POINTS, b'{"points":[{"id":1,"vector":{"name":[1,2,3,4]}}]}', 501),
    ("PUT", POINTS, b'{"points":[{"id":1,"vector":[1,2,3,4],"payload":7}]}', 400),
    ("PUT", POINTS, b'{"batch":{"ids":[1,2],"vectors":[[1,2,3,4]]}}', 400),
    ("POST", "/points/delete", b"{}", 400),
    ("POST", SCROLL, b'{"offset":"nonsense"}', 400),
    ("PUT", "/index", b'{"field_name":"a","field_schema":"text"}', 501),
    ("POST", "/facet", b'{"key":"a"}', 501),
    ("POST", "/points/query/groups", b"{}", 501),
    ("PATCH", "", b"{}", 501),
    ("GET", "/snapshots", b"", 501),
]


async def test_what_is_not_understood_is_refused(client: AsyncQdrantClient, name: str, qdrant_url: str) -> None:
    """Malformed is 400, out of range 422, unsupported 501, each with a message; never a wrong result, never a 500."""
    async with aiohttp.ClientSession() as session:
        for method, path, body, status in REFUSED:
            async with session.request(method, f"{qdrant_url}/collections/{name}{path}", data=body) as answer:
                told = await answer.json()
                assert answer.status == status, (method, path, body, told)
                assert told["status"]["error"]
                assert "result" not in told
    assert (await client.count(name)).count == 0


@pytest.mark.parametrize(
    ("config", "status"),
    [
        ({"vectors": {"size": 4, "distance": "Hamming"}}, 400),
        ({"vectors": {"size": 0, "distance": "Dot"}}, 422),
        ({"vectors": {"text": {"size": 4, "distance": "Dot"}}}, 501),
        ({"vectors": {"size": 4, "distance": "Dot"}, "sparse_vectors": {"a": {}}}, 501),
        ({"vectors": {"size": 4, "distance": "Dot"}, "shard_number": 2}, 501),
        ({}, 400),
    ],
)
async def test_a_collection_that_we_cannot_keep_is_refused(
    qdrant_url: str, config: dict[str, object], status: int
) -> None:
    """A set-up with parts that this engine lacks fails at once instead of answering differently later."""
    async with aiohttp.ClientSession() as session:
        async with session.put(f"{qdrant_url}/collections/refused", json=config) as answer:
            assert answer.status == status
        async with session.get(f"{qdrant_url}/collections/refused/exists") as answer:
            assert (await answer.json())["result"] == {"exists": False}


async def test_health_and_version(client: AsyncQdrantClient, qdrant_url: str) -> None:
    """The three health routes and the version that clients check."""
    assert (await client.info()).version.startswith("1.")
    async with aiohttp.ClientSession() as session:
        for path in ("healthz", "livez", "readyz"):
            async with session.get(f"{qdrant_url}/{path}") as answer:
                assert answer.status == 200


# -- surviving -------------------------------------------------------------------------------------------------------


def write_until_refused(url: str, acknowledged: list[int], first: int) -> None:
    """Upsert one point after the other, and give every third a label afterwards; note what was acknowledged."""
    client = QdrantClient(url=url, check_compatibility=False)
    try:
        for number in range(first, first + 100_000):
            point = models.PointStruct(id=number, vector=[1, number % 97, 2, 3], payload={"at": number})
            client.upsert("kept", [point], wait=True)
            if number % 3 == 0:
                client.set_payload("kept", {"labelled": True}, points=[number], wait=True)
            acknowledged.append(number)
    except ApiException:
        client.close()


def check_kept(url: str, acknowledged: list[int]) -> None:
    client = QdrantClient(url=url, check_compatibility=False)
    stored = {each.id: each.payload or {} for each in client.scroll("kept", limit=100_000)[0]}
    assert set(acknowledged) <= set(stored)
    assert all(stored[number].get("labelled") is (True if number % 3 == 0 else None) for number in acknowledged)
    # An unacknowledged write may be there or not; there is at most one of each writer.
    assert len(stored) <= len(acknowledged) + 2
    labelled = client.count("kept", models.Filter(must=[LABELLED])).count
    assert labelled == sum("labelled" in payload for payload in stored.values())
    described = client.get_collection("kept")
    assert described.config.params.vectors == VECTORS
    assert set(described.payload_schema) == {"labelled", "at"}
    client.close()


def test_every_acknowledged_write_survives_kill_9(tmp_path: Path) -> None:
    """Killed three times in the middle of two writers' work, the engine has every acknowledged write each time."""
    port = free_port()
    url, acknowledged = f"http://127.0.0.1:{port}", list[int]()
    server = Server("qdrant", qdrant_command(port, tmp_path / "data"), tmp_path / "log")
    with running(server, port):
        with contextlib.closing(QdrantClient(url=url, check_compatibility=False)) as client:
            client.create_collection("kept", VECTORS)
            client.create_payload_index("kept", "labelled", models.PayloadSchemaType.BOOL)
            client.create_payload_index("kept", "at", models.PayloadSchemaType.INTEGER)
            with pytest.raises(UnexpectedResponse):
                # A write that fails is in the engine's log as well, and must not stop a restart.
                client.set_payload("kept", {"labelled": True}, points=[4_000_000])
        for life in range(3):
            writers = [
                threading.Thread(
                    target=write_until_refused, args=(url, acknowledged, 1_000_000 * lane + 100_000 * life)
                )
                for lane in range(2)
            ]
            for writer in writers:
                writer.start()
            time.sleep(0.7)
            server.kill()
            for writer in writers:
                writer.join()
            server.start()
            server.wait_for_port(port)
            check_kept(url, acknowledged)
    assert len(acknowledged) > 20


def test_a_clean_stop_exits_with_0_and_a_second_process_is_turned_away(tmp_path: Path) -> None:
    """SIGTERM ends in a flush and exit 0; two processes never share a folder."""
    port, folder = free_port(), tmp_path / "data"
    server = Server("qdrant", qdrant_command(port, folder), tmp_path / "log")
    with running(server, port):
        second = Server("second", qdrant_command(free_port(), folder), tmp_path / "second.log")
        second.start()
        assert second.process is not None
        assert second.process.wait(20) == 2
        assert "another process" in second.log.read_text()
        server.signal(signal.SIGTERM)
        assert server.process is not None
        assert server.process.wait(20) == 0


async def test_a_rebuild_loses_no_write(tmp_path: Path) -> None:
    """Points written, changed and deleted while the search graph is built on a copy are in the new shard, and stay."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((400, SIZE)).tolist()

    def change(first: int, last: int) -> dict[str, object]:
        return {"points": [{"id": n, "vector": rows[n], "payload": {"at": n}} for n in range(first, last)]}

    collections = Collections(tmp_path)
    await collections.create("kept", {"vectors": {"size": SIZE, "distance": "Cosine"}})
    kept = collections.get("kept")
    await kept.write(upsert(change(0, 200), SIZE))
    before = kept.description.shard
    rebuild = asyncio.create_task(kept.rebuild())
    written = 200
    while not rebuild.done():
        if written < 400:
            await kept.write(upsert(change(written, written + 1), SIZE))
            written += 1
        await asyncio.sleep(0.005)
    await rebuild
    assert kept.description.shard != before
    assert await kept.read(lambda shard: shard.info().points_count) == written > 200
    await collections.close()
    (found,) = files.read_all(tmp_path)
    assert [each.name for each in found[0].glob("shard-*")] == [found[1].shard]
    again = Collections(tmp_path)
    again.load()
    assert await again.get("kept").read(lambda shard: shard.info().points_count) == written
    await again.close()


async def test_a_rebuild_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the building process dies, searching and writing go on with the old shard and the copy is gone."""

    async def die(_shard: Path) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr("deploy.qdrant_engine.collection.build_graph", die)
    collections = Collections(tmp_path)
    await collections.create("kept", {"vectors": {"size": SIZE, "distance": "Cosine"}})
    kept = collections.get("kept")
    await kept.write(upsert({"points": [{"id": 1, "vector": [1, 0, 0, 0]}]}, SIZE))
    with pytest.raises(RuntimeError, match="killed"):
        await kept.rebuild()
    await kept.write(upsert({"points": [{"id": 2, "vector": [1, 0, 0, 0]}]}, SIZE))
    assert await kept.read(lambda shard: shard.info().points_count) == 2
    assert len(list(files.folder_of(tmp_path, "kept").glob("shard-*"))) == 1
    await collections.close()
