"""A search stays fast beside many points and much writing, and finds what an exact one finds."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient, models

from deploy.qdrant_engine import files
from deploy.qdrant_engine.collections import Collections
from deploy.qdrant_engine.reads import query_of
from deploy.qdrant_engine.rebuild import LONGEST_PAUSE_S, MUCH, due, pause_s
from deploy.qdrant_engine.tuning import Tuning
from deploy.qdrant_engine.writes import upsert
from shared.quick_http import QuickHttp
from shared.schemas.storage import EmbeddingModel
from shared.storage.qdrant_index import RANKED_BY_VECTORS, QdrantIndex, collection_name
from shared.storage.qdrant_setup import BYTES, SCANNED_POINTS
from tests.contracts.qdrant_rig import SIZE, VECTORS


async def test_our_collection_is_tuned(
    server: str, client: AsyncQdrantClient, http: QuickHttp, fresh_model: EmbeddingModel
) -> None:
    """What is created for a model has bytes, and a graph from so many points on, whatever their dimension."""
    await QdrantIndex(http, None, 5.0).prepare(fresh_model)
    described = (await client.get_collection(collection_name(fresh_model))).config
    assert described.quantization_config == models.ScalarQuantization(**BYTES)
    assert described.optimizer_config.indexing_threshold == SCANNED_POINTS * fresh_model.dimension * 4 // 1024


async def test_bytes_change_no_similarity(client: AsyncQdrantClient) -> None:
    """Ranked by the vectors, the nearest points and their similarities are those of an exact search."""
    await client.create_collection("bytes", VECTORS, quantization_config=models.ScalarQuantization(**BYTES))
    rows = np.random.default_rng(0).standard_normal((200, SIZE)).tolist()
    await client.upsert("bytes", [models.PointStruct(id=each, vector=row) for each, row in enumerate(rows)])
    params = models.SearchParams(quantization=models.QuantizationSearchParams(rescore=True, oversampling=1.5))
    ranked, exact = [
        (await client.query_points("bytes", query=rows[0], limit=50, search_params=each)).points
        for each in (params, models.SearchParams(exact=True))
    ]
    assert [(each.id, each.score) for each in ranked] == [(each.id, each.score) for each in exact]
    await client.delete_collection("bytes")


async def test_a_graph_finds_what_an_exact_search_finds(tmp_path: Path) -> None:
    """Walked along bytes and ranked by vectors, a graph finds 99 % of the nearest 50, with exact similarities."""
    rng, size, number = np.random.default_rng(2), 32, 12_000
    rows = rng.standard_normal((number, size))
    collections = Collections(tmp_path)
    body = {
        "vectors": {"size": size, "distance": "Cosine"},
        "quantization_config": BYTES,
        "optimizers_config": {"indexing_threshold": 100},
    }
    await collections.create("graph", body)
    graph = collections.get("graph")
    points = [{"id": each, "vector": row} for each, row in enumerate(rows.tolist())]
    await graph.write(upsert({"points": points}, size))
    await graph.rebuild()
    assert (await graph.read(lambda shard: shard.info().indexed_vectors_count)) == number

    async def nearest(vector: list[float], params: object) -> dict[object, float]:
        asked = query_of({"query": vector, "limit": 50, "params": params}, size)
        return {each.id: each.score for each in await graph.read(lambda shard: shard.query(asked))}

    shares = []
    for vector in rng.standard_normal((30, size)).tolist():
        found, exact = await nearest(vector, RANKED_BY_VECTORS), await nearest(vector, {"exact": True})
        both = found.keys() & exact.keys()
        shares.append(len(both) / 50)
        assert [found[each] for each in both] == pytest.approx([exact[each] for each in both], abs=1e-5)
    assert np.mean(shares) > 0.99
    await collections.close()


async def test_searches_do_not_wait_for_the_disk(tmp_path: Path) -> None:
    """What a rebuild or a stop had the system drop is in memory again before it is searched."""
    size, number = 32, 12_000
    rng = np.random.default_rng(2)
    collections = Collections(tmp_path)
    vectors = {"size": size, "distance": "Cosine"}
    await collections.create("graph", {"vectors": vectors, "optimizers_config": {"indexing_threshold": 100}})
    graph = collections.get("graph")
    rows = enumerate(rng.standard_normal((number, size)).tolist())
    points = [{"id": each, "vector": row, "payload": {"arm": f"maker/model-{each}"}} for each, row in rows]
    await graph.write(upsert({"points": points}, size))

    async def search(vector: list[float]) -> None:
        asked = query_of({"query": vector, "limit": 50, "with_payload": True}, size)
        await collections.get("graph").read(lambda shard: shard.query(asked))

    async def waits() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
        for vector in rng.standard_normal((30, size)).tolist():
            await search(vector)
        return resource.getrusage(resource.RUSAGE_SELF).ru_majflt - before

    await waits()
    await graph.rebuild()
    assert await waits() < 5
    await collections.close()
    collections = Collections(tmp_path)
    collections.load()
    assert await waits() < 5
    await collections.close()


async def test_searches_are_answered_during_a_large_write(
    qdrant_url: str, client: AsyncQdrantClient, collection: str
) -> None:
    """A write of thousands of points is many small steps, and a search meanwhile does not wait for its end."""
    rows = np.random.default_rng(3).standard_normal((5000, SIZE)).tolist()
    large = [models.PointStruct(id=each, vector=row) for each, row in enumerate(rows)]
    write = asyncio.create_task(client.upsert(collection, large, wait=True))
    seen = set()
    url = f"{qdrant_url}/collections/{collection}/points/count"
    async with aiohttp.ClientSession() as session:
        while not write.done():
            async with session.post(url, json={}) as answer:
                seen.add((await answer.json())["result"]["count"])
    await write
    assert len(seen - {0, len(rows)}) > 5


def test_a_rebuild_pauses_after_its_work_but_not_under_a_flood() -> None:
    """Few points never cause one; enough of them one after the rest; very many one at once, whatever the size."""
    calm = {"points": 100_000, "least": 2500}
    assert not due(waiting=2499, drift=2499, pause_over=True, **calm)
    assert due(waiting=2500, drift=2500, pause_over=True, **calm)
    assert not due(waiting=2500, drift=2500, pause_over=False, **calm)
    assert due(waiting=25_000, drift=25_000, pause_over=False, **calm)
    assert not due(points=0, waiting=0, drift=MUCH - 1, least=1, pause_over=True)
    assert not due(points=MUCH, waiting=MUCH, drift=MUCH, least=2 * MUCH, pause_over=False)
    assert 1 < pause_s(1) < pause_s(5) < pause_s(1000) == LONGEST_PAUSE_S


def test_collections_of_older_versions_are_read(tmp_path: Path) -> None:
    """A description without tuning is one with Qdrant's defaults, and a written one comes back as it was."""
    folder = files.folder_of(tmp_path, "old")
    folder.mkdir(parents=True)
    (folder / "collection.json").write_text('{"name": "old", "size": 4, "distance": "Dot", "shard": "shard-1"}')
    ((_, old),) = files.read_all(tmp_path)
    assert old == files.Description("old", 4, "Dot", "shard-1", Tuning())
    tuned = files.Description("old", 4, "Dot", "shard-1", Tuning(39, 0.99))
    files.save(folder, tuned)
    assert files.read_all(tmp_path) == [(folder, tuned)]
