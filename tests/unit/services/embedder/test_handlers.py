"""Handlers of the embedder: what load balancers hear, and a body that does not arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from services.embedder import handlers
from shared.schemas.storage import EmbeddingModel
from shared.settings import load_settings


@pytest.fixture
async def app() -> web.Application:
    app = web.Application(middlewares=[handlers.errors])
    batcher: Any = MagicMock(running=True)
    batcher.__len__.return_value = 0
    endpoint: Any = Mock()
    supervisor: Any = Mock(trouble=list, pulses={})
    app[handlers.BATCHER] = batcher
    app[handlers.MODEL] = EmbeddingModel("test-4", 4)
    app[handlers.SETTINGS] = load_settings({"BODY_TIMEOUT_S": "0.1"}, None)
    app[handlers.DRAINING] = asyncio.Event()
    app[handlers.ENDPOINT] = endpoint
    app[handlers.SUPERVISOR] = supervisor
    app.add_routes(
        [
            web.get("/ready", handlers.ready),
            web.get("/health", handlers.health),
            web.post("/embed", handlers.embed),
        ]
    )
    return app


@pytest.fixture
async def port(app: web.Application) -> AsyncIterator[int]:
    async with TestServer(app) as server:
        yield server.port or 0


async def answer_to(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        async with asyncio.timeout(5):
            return await reader.readline()
    finally:
        writer.close()


async def statuses(port: int) -> list[bytes]:
    return [
        (await answer_to(port, b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)).split()[1]
        for path in (b"/ready", b"/health")
    ]


async def test_an_embedder_that_drains_is_healthy_and_not_ready(app: web.Application, port: int) -> None:
    """It finishes what it has and gets nothing new."""
    assert await statuses(port) == [b"200", b"200"]
    app[handlers.DRAINING].set()
    assert await statuses(port) == [b"503", b"200"]


async def test_an_embedder_that_encodes_nothing_is_neither(app: web.Application, port: int) -> None:
    """Its loop has ended: only a restart helps."""
    batcher: Any = app[handlers.BATCHER]
    batcher.running = False
    assert await statuses(port) == [b"503", b"503"]


async def test_a_body_that_does_not_arrive_in_time_is_408(port: int) -> None:
    """A client cannot hold a handler by sending a part."""
    head = b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    assert b" 408 " in await answer_to(port, head)
