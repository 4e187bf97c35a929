"""Each contract runs twice: on the fake and on the real thing."""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
from collections.abc import AsyncIterator

import aiohttp
import pytest
from qdrant_client import AsyncQdrantClient

from shared.quick_http import QuickHttp
from shared.schemas.storage import EmbeddingModel
from shared.storage.qdrant_index import QdrantIndex, collection_name
from tests.contracts.index_rig import DIMENSION, MODEL, NOW
from tests.contracts.qdrant_rig import VECTORS
from tests.support.redis_rig import Rig, fake_rig, redis_rig


@pytest.fixture(params=["fake", "redis"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """The ports that live in Redis."""
    if request.param == "fake":
        yield fake_rig()
        return
    async with redis_rig(request.getfixturevalue("redis_server")) as real:
        yield real


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
def server(qdrant_url: str) -> str:
    """The local engine, or the Qdrant server that QDRANT_TEST_URL names."""
    return os.environ.get("QDRANT_TEST_URL", qdrant_url)


@pytest.fixture
async def client(qdrant_url: str) -> AsyncIterator[AsyncQdrantClient]:
    """The official client, its version check included: a warning would fail the test."""
    before = set(threading.enumerate())
    opened = AsyncQdrantClient(url=qdrant_url)
    checking = set(threading.enumerate()) - before
    yield opened
    await opened.close()
    for thread in checking:  # the check runs in one: it must not outlive the engine that it asks
        await asyncio.to_thread(thread.join)


@pytest.fixture
async def collection(client: AsyncQdrantClient) -> AsyncIterator[str]:
    """A fresh collection with a name that needs quoting."""
    name = f"c {uuid.uuid4().hex[:8]} ü"
    await client.create_collection(name, VECTORS)
    yield name
    await client.delete_collection(name)


@pytest.fixture
async def http(server: str) -> AsyncIterator[QuickHttp]:
    """Connections to Qdrant, as the adapter wants them."""
    async with QuickHttp(server) as pool:
        yield pool


@pytest.fixture
async def real(http: QuickHttp) -> QdrantIndex:
    """The adapter on an emptied collection; creating one takes longer than a test."""
    index = QdrantIndex(http, None, 5.0)
    await index.prepare(MODEL)
    await index.delete_before(2 * NOW)
    return index


@pytest.fixture
async def fresh_model(server: str, session: aiohttp.ClientSession) -> AsyncIterator[EmbeddingModel]:
    """A model without a collection."""
    model = EmbeddingModel(f"test/{uuid.uuid4().hex[:8]}", DIMENSION)
    yield model
    async with session.delete(f"{server}/collections/{collection_name(model)}"):
        pass
