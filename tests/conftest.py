"""Real servers for the tests: one Redis and one Qdrant engine a session, emptied before each test that uses them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio as aioredis

from deploy.local.servers import Server, free_port, qdrant_command, redis_command, running


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real Redis."""
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    with running(Server("redis", redis_command(port, folder), folder / "log"), port):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture
async def redis_url(redis_server: str) -> AsyncIterator[str]:
    """URL of a real, empty Redis."""
    client = aioredis.Redis.from_url(redis_server)
    await client.flushall()
    yield redis_server
    await client.aclose()


@pytest.fixture(scope="session")
def qdrant_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real Qdrant engine; use a collection of your own."""
    folder, port = tmp_path_factory.mktemp("qdrant"), free_port()
    with running(Server("qdrant", qdrant_command(port, folder / "data"), folder / "log"), port):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def project() -> Path:
    """The project's folder."""
    return Path(__file__).resolve().parent.parent
