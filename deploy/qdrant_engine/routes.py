"""REST routes of the engine: those of Qdrant that the router and its set-up use, with Qdrant's replies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import orjson
from aiohttp import web

from deploy.qdrant_engine import reads, writes
from deploy.qdrant_engine.collection import Collection
from deploy.qdrant_engine.collections import Collections
from deploy.qdrant_engine.fields import fields, items
from deploy.qdrant_engine.problems import malformed, unsupported
from deploy.qdrant_engine.replies import Handler, answered
from deploy.qdrant_engine.writes import Change

VERSION = "1.20.0"
"""Version of Qdrant's REST API that this follows; clients check it."""

COLLECTIONS = web.AppKey("collections", Collections)

Translation = Callable[[Any, int], Iterator[Change]]
"""Translates the body of an update to engine calls; takes the body and the number of dimensions."""


def parsed(raw: bytes) -> Any:
    """Parse a JSON body."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise malformed(str(error)) from error


async def body_of(request: web.Request) -> Any:
    """Parse the JSON body of a request."""
    return parsed(await request.read())


def found(request: web.Request) -> Collection:
    """Return the collection of the path."""
    return request.app[COLLECTIONS].get(request.match_info["name"])


def _waits(request: web.Request) -> bool:
    """Whether the client waits. Qdrant answers before it applies a write without `wait`; here it is always applied."""
    return request.query.get("wait", "false") == "true"


def _written(number: int, *, waited: bool) -> dict[str, object]:
    return {"operation_id": number, "status": "completed" if waited else "acknowledged"}


async def root(_request: web.Request) -> web.Response:
    """Answer `GET /` with name and version, outside of the usual envelope."""
    return web.json_response({"title": "qdrant - vector search engine", "version": VERSION, "commit": "local-engine"})


async def ready(_request: web.Request) -> web.Response:
    """Answer `GET /readyz`."""
    return web.Response(text="all shards are ready")


async def create_collection(request: web.Request) -> object:
    """Create a collection."""
    await request.app[COLLECTIONS].create(request.match_info["name"], await body_of(request))
    return True


async def delete_collection(request: web.Request) -> object:
    """Delete a collection; the result is false when there was none."""
    return await request.app[COLLECTIONS].delete(request.match_info["name"])


async def describe(request: web.Request) -> object:
    """Describe a collection. Settings that this engine does not have show Qdrant's defaults."""
    collection = found(request)
    info = await collection.read(lambda shard: shard.info())
    described = collection.description
    return {
        "status": "green",
        "optimizer_status": "ok",
        "indexed_vectors_count": info.indexed_vectors_count,
        "points_count": info.points_count,
        "segments_count": info.segments_count,
        "config": {
            "params": {
                "vectors": {"size": described.size, "distance": described.distance},
                "shard_number": 1,
                "replication_factor": 1,
                "write_consistency_factor": 1,
                "on_disk_payload": True,
            },
            "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000},
            "optimizer_config": {
                "default_segment_number": 0,
                "indexing_threshold": described.tuning.indexing_threshold_kb,
                "flush_interval_sec": 5,
            },
            "quantization_config": described.tuning.quantization(),
            "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
        },
        "payload_schema": {
            name: {"data_type": str(index.data_type).rsplit(".", 1)[-1].lower(), "points": index.points}
            for name, index in info.payload_schema.items()
        },
    }


async def translated(steps: Iterator[Change]) -> list[Change]:
    """Translate a whole write before any of it is applied; reads are answered between the steps."""
    changes = []
    for change in steps:
        changes.append(change)
        await asyncio.sleep(0)
    return changes


async def apply(translate: Translation, collection: Collection, body: Any, *, waited: bool) -> object:
    """Apply an update; for the fast path and aiohttp alike."""
    changes = await translated(translate(body, collection.description.size))
    return _written(await collection.write(changes), waited=waited)


def writer(translate: Translation) -> Handler:
    """Return the handler of one kind of update."""

    async def handle(request: web.Request) -> object:
        return await apply(translate, found(request), await body_of(request), waited=_waits(request))

    return handle


def _search(shard: Any, asked: Any) -> list[dict[str, Any]]:
    return reads.scored(shard.query(asked))


async def search(collection: Collection, body: Any) -> object:
    """Search; for the fast path and aiohttp alike."""
    asked = reads.query_of(body, collection.description.size)
    return {"points": await collection.read(partial(_search, asked=asked))}


async def query(request: web.Request) -> object:
    """Search points."""
    return await search(found(request), await body_of(request))


async def search_all(collection: Collection, body: Any) -> object:
    """Search several times, without interleaving with another batch, which would make both late."""
    searches = items(fields(body, "batch request", ("searches",)).get("searches"), "searches")
    return [await search(collection, each) for each in searches]


async def query_batch(request: web.Request) -> object:
    """Search points, several times."""
    return await search_all(found(request), await body_of(request))


async def scroll(request: web.Request) -> object:
    """Page through points."""
    collection = found(request)
    asked = reads.scroll_of(await body_of(request))
    points, following = await collection.read(lambda shard: shard.scroll(asked))
    return {"points": reads.records(points), "next_page_offset": following}


async def count(request: web.Request) -> object:
    """Count points."""
    collection = found(request)
    asked = reads.count_of(await body_of(request))
    return {"count": await collection.read(lambda shard: shard.count(asked))}


async def other(request: web.Request) -> object:
    """Refuse any other route of Qdrant with 501."""
    raise unsupported(f"{request.method} {request.path}")


def add_routes(app: web.Application) -> None:
    """Register every route."""
    prefix = "/collections/{name}"
    routes: list[tuple[str, str, Handler]] = [
        ("PUT", prefix, create_collection),
        ("GET", prefix, describe),
        ("DELETE", prefix, delete_collection),
        ("PUT", f"{prefix}/points", writer(writes.upsert)),
        ("POST", f"{prefix}/points/delete", writer(writes.delete)),
        ("POST", f"{prefix}/points/payload", writer(writes.set_payload)),
        ("PUT", f"{prefix}/index", writer(writes.create_index)),
        ("POST", f"{prefix}/points/query", query),
        ("POST", f"{prefix}/points/query/batch", query_batch),
        ("POST", f"{prefix}/points/scroll", scroll),
        ("POST", f"{prefix}/points/count", count),
        ("*", "/{rest:.*}", other),
    ]
    app.router.add_get("/", root)
    app.router.add_get("/readyz", ready)
    for method, path, handler in routes:
        app.router.add_route(method, path, answered(handler))
