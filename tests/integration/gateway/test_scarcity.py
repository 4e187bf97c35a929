"""Few file descriptors, many clients; and clients that leave: what is open stays bounded, and it recovers."""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.gateway_process import BODY, Gateway, eventually

READY = b"GET /ready HTTP/1.1\r\nhost: gateway\r\n\r\n"


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Let this process, which plays the clients, open more than the gateway may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    try:
        return await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 5)
    except (OSError, TimeoutError):
        return None


async def first_line(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None) -> bytes:
    """Ask on an open connection; return the answer's first line."""
    if connection is None:
        return b"refused"
    reader, writer = connection
    try:
        writer.write(READY)
        return (await asyncio.wait_for(reader.readline(), 10)).strip()
    except (OSError, TimeoutError):
        return b"closed"


async def test_two_thousand_connections_on_256_descriptors(tmp_path: Path, upstream: str, descriptors: None) -> None:
    """Some are served, the others hear 503, an upstream call still finds a socket, and afterwards all is well (31)."""
    gateway = Gateway(tmp_path, upstream)
    gateway.server.command = ["/bin/sh", "-c", 'ulimit -n 256 && exec "$@"', "sh", *gateway.server.command]
    await gateway.start()
    try:
        async with aiohttp.ClientSession(gateway.url) as client:
            (await client.get("/ready")).close()  # this one is inside before the crowd comes
            crowd = [
                one for _ in range(20) for one in await asyncio.gather(*(connect(gateway.port) for _ in range(100)))
            ]
            lines = Counter(await asyncio.gather(*(first_line(one) for one in crowd)))
            assert lines[b"HTTP/1.1 200 OK"] >= 50, lines
            assert lines[b"HTTP/1.1 503 Service Unavailable"] >= 1000, lines
            async with client.post("/v1/chat/completions", json=BODY) as response:
                assert response.status == 200
            for one in crowd:
                if one is not None:
                    one[1].close()
        async with aiohttp.ClientSession(gateway.url) as client:
            for _ in range(100):
                try:
                    async with client.post("/v1/chat/completions", json=BODY) as response:
                        if response.status == 200:
                            break
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)
            assert response.status == 200
        assert await asyncio.to_thread(gateway.server.stop, 30.0) == 0
        assert "Too many open files" not in gateway.log.read_text()
    finally:
        await asyncio.to_thread(gateway.server.kill)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_stops_the_call_within_a_second(gateways: Any, redis_url: str, stream: bool) -> None:
    """The upstream sees its connection close, and the record says cancelled (row 24 of the failures)."""
    asked, left = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.set()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream" if stream else "application/json"})
        await response.prepare(request)
        if stream:
            await response.write(b'data: {"choices": [{"index": 0, "delta": {"content": "Well, "}}]}\n\n')
        try:
            await asyncio.sleep(30)  # cancelled when the connection closes
        finally:
            left.set()
        return response

    async def models(_request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "a/slow"}]})

    app = web.Application()
    app.add_routes([web.post("/chat/completions", answer), web.get("/models", models)])
    async with TestServer(app) as slow:
        gateway = await gateways(
            REDIS_URL=redis_url, OPENROUTER_BASE_URL=str(slow.make_url("")), LLM_MODELS="a/slow", DEFAULT_MODEL="a/slow"
        )
        client = socket.create_connection(("127.0.0.1", gateway.port))
        body = b'{"messages": [{"role": "user", "content": "?"}], "stream": %s}' % (b"true" if stream else b"false")
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        await asyncio.wait_for(asked.wait(), 10)
        await asyncio.sleep(0.1)
        client.close()
        started = time.monotonic()
        await asyncio.wait_for(left.wait(), 5)
        assert time.monotonic() - started < 1
    (record,) = await eventually(redis_url, 1)
    assert record["outcome"]["status"] == "cancelled"
