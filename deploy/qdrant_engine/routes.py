"""The REST routes that we use, each answering as Qdrant does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import orjson
from aiohttp import web

from deploy.qdrant_engine import reads, writes
from deploy.qdrant_engine.answers import Handler, answered
from deploy.qdrant_engine.collection import Collection
from deploy.qdrant_engine.collections import Collections
from deploy.qdrant_engine.fields import fields, items, point_id
from deploy.qdrant_engine.problems import ApiProblem, malformed, unsupported
from deploy.qdrant_engine.writes import Change

VERSION = "1.20.0"
"""The version of Qdrant whose REST API this is; clients check it."""

COLLECTIONS = web.AppKey("collections", Collections)

Translation = Callable[[Any, int], Iterator[Change]]
"""From the body of an update, and the size of a vector, to engine calls."""


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
    """Whether it waits. Without `wait` Qdrant answers before it applies; here it is applied in any case."""
    return request.query.get("wait", "false") == "true"


def _written(number: int, *, waited: bool) -> dict[str, object]:
    return {"operation_id": number, "status": "completed" if waited else "acknowledged"}


async def root(_request: web.Request) -> web.Response:
    """Name and version, in a shape of its own."""
    return web.json_response({"title": "qdrant - vector search engine", "version": VERSION, "commit": "local-engine"})


async def alive(_request: web.Request) -> web.Response:
    """Health, for /healthz, /livez and /readyz."""
    return web.Response(text="healthz check passed")


async def list_collections(request: web.Request) -> object:
    """All names."""
    return {"collections": [{"name": name} for name in request.app[COLLECTIONS].names()]}


async def create_collection(request: web.Request) -> object:
    """Create."""
    await request.app[COLLECTIONS].create(request.match_info["name"], await body_of(request))
    return True


async def delete_collection(request: web.Request) -> object:
    """Delete; false when there is none."""
    return await request.app[COLLECTIONS].delete(request.match_info["name"])


async def exists(request: web.Request) -> object:
    """Whether there is such a collection."""
    return {"exists": request.match_info["name"] in request.app[COLLECTIONS]}


async def describe(request: web.Request) -> object:
    """What the collection is and holds; settings that this engine does not have show Qdrant's defaults."""
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


async def understood(steps: Iterator[Change]) -> list[Change]:
    """Translate a write to its end before any of it is applied; reads are answered between the steps."""
    changes = []
    for change in steps:
        changes.append(change)
        await asyncio.sleep(0)
    return changes


async def apply(translate: Translation, collection: Collection, body: Any, *, waited: bool) -> object:
    """Apply one kind of update, however it came."""
    changes = await understood(translate(body, collection.description.size))
    return _written(await collection.write(changes), waited=waited)


def writer(translate: Translation) -> Handler:
    """Return the handler of one kind of update."""

    async def handle(request: web.Request) -> object:
        return await apply(translate, found(request), await body_of(request), waited=_waits(request))

    return handle


async def batch(request: web.Request) -> object:
    """Several updates in order, one answer each."""
    collection = found(request)
    steps = [await understood(each) for each in writes.batch(await body_of(request), collection.description.size)]
    return [_written(await collection.write(changes), waited=_waits(request)) for changes in steps]


async def delete_index(request: web.Request) -> object:
    """Drop a payload index."""
    number = await found(request).write(list(writes.delete_index(request.match_info["field"])))
    return _written(number, waited=_waits(request))


def _search(shard: Any, asked: Any) -> list[dict[str, Any]]:
    return reads.scored(shard.query(asked))


async def search(collection: Collection, body: Any) -> object:
    """Search, however the question came."""
    asked = reads.query_of(body, collection.description.size)
    return {"points": await collection.read(partial(_search, asked=asked))}


async def query(request: web.Request) -> object:
    """Search."""
    return await search(found(request), await body_of(request))


async def search_all(collection: Collection, body: Any) -> object:
    """Make several searches, however they came, in one go: taken in turn with another batch's, all would be late."""
    searches = items(fields(body, "batch request", ("searches",)).get("searches"), "searches")
    return [await search(collection, each) for each in searches]


async def query_batch(request: web.Request) -> object:
    """Several searches."""
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


async def retrieve(request: web.Request) -> object:
    """Points by id; unknown ids are left out."""
    collection = found(request)
    ids, payload, vector = reads.lookup_of(await body_of(request))
    return reads.records(await collection.read(lambda shard: shard.retrieve(ids, payload, vector)))


async def retrieve_one(request: web.Request) -> object:
    """One point by id."""
    raw = request.match_info["id"]
    wanted = point_id(int(raw) if raw.isdecimal() else raw)
    points = await found(request).read(lambda shard: shard.retrieve([wanted], with_payload=True, with_vector=True))
    if not points:
        raise ApiProblem(404, f"Not found: Point with id {wanted} does not exists!")
    return reads.records(points)[0]


async def other(request: web.Request) -> object:
    """Everything else that Qdrant may have."""
    raise unsupported(f"{request.method} {request.path}")


def add_routes(app: web.Application) -> None:
    """Register every route."""
    prefix = "/collections/{name}"
    routes: list[tuple[str, str, Handler]] = [
        ("GET", "/collections", list_collections),
        ("PUT", prefix, create_collection),
        ("GET", prefix, describe),
        ("DELETE", prefix, delete_collection),
        ("GET", f"{prefix}/exists", exists),
        ("PUT", f"{prefix}/points", writer(writes.upsert)),
        ("POST", f"{prefix}/points/delete", writer(writes.delete)),
        ("POST", f"{prefix}/points/payload", writer(writes.set_payload)),
        ("PUT", f"{prefix}/points/payload", writer(writes.overwrite_payload)),
        ("POST", f"{prefix}/points/payload/delete", writer(writes.delete_payload)),
        ("POST", f"{prefix}/points/payload/clear", writer(writes.clear_payload)),
        ("POST", f"{prefix}/points/batch", batch),
        ("PUT", f"{prefix}/index", writer(writes.create_index)),
        ("DELETE", f"{prefix}/index/{{field}}", delete_index),
        ("POST", f"{prefix}/points/query", query),
        ("POST", f"{prefix}/points/query/batch", query_batch),
        ("POST", f"{prefix}/points/scroll", scroll),
        ("POST", f"{prefix}/points/count", count),
        ("POST", f"{prefix}/points", retrieve),
        ("GET", f"{prefix}/points/{{id}}", retrieve_one),
        ("*", "/{rest:.*}", other),
    ]
    app.router.add_get("/", root)
    for path in ("/healthz", "/livez", "/readyz"):
        app.router.add_get(path, alive)
    for method, path, handler in routes:
        app.router.add_route(method, path, answered(handler))
