"""Real servers for the tests: one Redis, Qdrant engine and PostgreSQL for each worker, emptied before each use."""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
import redis.asyncio as aioredis
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from deploy.local.postgres import postgres_url
from deploy.local.probes import postgres_answers
from deploy.local.servers import Server, free_port, postgres_command, qdrant_command, redis_command, running
from tests.support.parallel import pytest_configure  # noqa: F401 - pytest finds its hook here

# How long an example takes says more of the machine than of the law; the first draw of a fresh clone is always slow.
# CI tries the same examples each time, so that a change is judged by itself; at a desk each run tries others.
hypothesis_settings.register_profile(
    "laws", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
hypothesis_settings.load_profile("laws")


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


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a real PostgreSQL."""
    # Not below pytest's own folder: as root the server runs as somebody who cannot get in there.
    with tempfile.TemporaryDirectory(prefix="llm-router-postgres-", ignore_cleanup_errors=True) as name:
        folder, port = Path(name), free_port()
        folder.chmod(0o755)
        command = postgres_command(port, folder / "postgres", forgetful=True)
        with running(Server("postgres", command, folder / "log"), port):
            deadline = time.monotonic() + 20
            while not postgres_answers(port) and time.monotonic() < deadline:
                time.sleep(0.02)
            yield postgres_url(port)


@pytest.fixture
def database_url(postgres_server: str) -> Iterator[str]:
    """URL of an empty database of the test's own."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield postgres_server.rpartition("/")[0] + f"/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def project() -> Path:
    """The project's folder."""
    return Path(__file__).resolve().parent.parent
