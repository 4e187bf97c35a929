"""Function calls of a request: a loss of speed shows without a clock, on any machine at any load."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer

from deploy.local.servers import free_port
from services.gateway.app import build_app
from services.gateway.http import request_lifecycle
from services.gateway.http.app_keys import HEALTH
from services.gateway.http.server import serve
from shared.clients.answer_stream import HttpAnswerStream
from shared.clients.event_reader import EventReader
from shared.fast_path import ResponseWriter
from shared.quick_http import Incoming
from shared.quick_http.connection import Connection
from shared.schemas.upstream import Heard
from tests.support import raw_upstream as raw
from tests.support.fakes.gateway import World, settings_for

ROUTED, PINNED, STREAMED = 2.8, 2.4, 4.3
"""Calls of a request over those of a bare handler, client included, as measured; print them with `pytest -s`."""

CHUNK = 52
"""Calls of a chunk, from the upstream's socket to the client's."""

LOSS = 1.25
REQUESTS, BATCHES = 20, 5


async def calls_of(ask: Callable[[], Awaitable[None]]) -> float:
    """Return the Python and C calls of one request: of several batches the least, for loops run beside them."""
    batches = []
    for _ in range(BATCHES):
        calls = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            for _ in range(REQUESTS):
                await ask()
        finally:
            sys.setprofile(None)
        batches.append(calls / REQUESTS)
    return min(batches)


async def bare_calls() -> float:
    """Return the calls of the least that an aiohttp server and its test client can do."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=await request.read(), content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    async with TestClient(TestServer(app)) as client:
        return await calls_of(lambda: asked(client, {}))


async def asked(client: TestClient[web.Request, web.Application] | ClientSession, fields: dict[str, object]) -> None:
    body = {"messages": [{"role": "user", "content": "What is the capital of Peru?"}], **fields}
    async with client.post("/v1/chat/completions", json=body) as answer:
        assert answer.status == 200
        assert "x-router-degraded" not in answer.headers  # what is missing costs nothing
        await answer.read()


@pytest.mark.parametrize(
    ("fields", "stored"),
    [({}, ROUTED), ({"model": "a/small"}, PINNED), ({"stream": True}, STREAMED)],
    ids=["routed", "pinned", "streamed"],
)
async def test_a_request_costs_no_more_calls_than_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, object], stored: float
) -> None:
    """Within 25 %: a change that makes it more expensive updates the figure here, or is reverted."""
    world = World(settings_for(tmp_path).model_copy(update={"PORT": free_port()}))
    monkeypatch.setattr(request_lifecycle, "log", Mock())  # how lines are written depends on what ran before this test
    app = build_app(world.settings, world.adapters, world.file)
    runner = await serve(app, world.settings)
    try:
        for _ in range(500):
            if not app[HEALTH].missing():
                break
            await asyncio.sleep(0.01)
        async with ClientSession(f"http://127.0.0.1:{world.settings.PORT}") as client:
            await asked(client, fields)  # fills caches
            ratio = await calls_of(lambda: asked(client, fields)) / await bare_calls()
    finally:
        await runner.cleanup()
    print(f"{ratio:.2f} times the calls of a bare handler")
    assert ratio < LOSS * stored


class _Wire(asyncio.Transport):
    """Counts what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, data: object) -> None:  # noqa: ARG002 - the transport's signature
        self.writes += 1


async def test_a_chunk_costs_no_more_calls_than_it_did() -> None:
    """No task is woken for it: it is written while the upstream's bytes are handled."""
    chunk = raw.event(raw.chunk("word"))
    framed = b"%x\r\n%b\r\n" % (len(chunk), chunk)
    upstream, outlet, client = Connection(), ResponseWriter(), _Wire()
    upstream.connection_made(_Wire())
    outlet.open(client)
    upstream.send(b"question")
    opening = asyncio.create_task(upstream.head(None))
    await asyncio.sleep(0)
    upstream.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed)
    answer = Incoming(upstream, *await opening, Mock())
    until = time.monotonic() + 30
    stream = HttpAnswerStream(
        answer, gap_timeout_s=30, first_by=until, deadline=until, reader=EventReader(with_usage=False)
    )
    assert await stream.wait(30) is Heard.EVENT
    pouring = asyncio.create_task(stream.pour(outlet, 10.0))
    await asyncio.sleep(0)

    async def one_chunk() -> None:
        before = client.writes
        upstream.data_received(framed)
        assert client.writes == before + 1

    calls = await calls_of(one_chunk)
    pouring.cancel()
    print(f"{calls:.0f} calls a chunk")
    assert calls < LOSS * CHUNK
