"""A server with a fast path and, beside it, the same application without one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast

from aiohttp import web

from deploy.local.servers import free_port
from shared.fast_path import PlainRequest, PlainResponse, ResponseWriter, listen

LINE = b"POST /echo HTTP/1.1"
LARGE = 8_000_000
PIECE = b"x" * 10_000
RECEIVE_BUFFER = 262_144
"""Of a client, set so that the system does not let it grow: some let it take 32 MB for somebody who does not read."""


def plain(body: bytes, *fields: bytes) -> bytes:
    """A request that the fast path answers."""
    rows = [LINE, b"Host: here", *fields, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(rows) + b"\r\n\r\n" + body


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def by(self) -> str:
        return self.headers.get("x-by", "nobody")


class Client:
    """Raw bytes out, answers in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self) -> Reply:
        async with asyncio.timeout(5):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *rows = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (row.partition(": ") for row in rows)}
            body = await self.pieces() if "transfer-encoding" in headers else b""
            body += await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Reply(int(first.split()[1]), headers, body)

    async def pieces(self) -> bytes:
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readuntil(b"\r\n")
        return body

    async def ask(self, data: bytes) -> Reply:
        await self.send(data)
        return await self.reply()

    async def closed(self, within_s: float = 5) -> bool:
        """Whether the server closes within so long, without another byte."""
        try:
            async with asyncio.timeout(within_s):
                return await self.reader.read(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False


@dataclass
class Rig:
    runner: web.AppRunner
    port: int
    bare_port: int
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    begun: list[bytes] = field(default_factory=list)
    cancelled: list[bytes] = field(default_factory=list)
    sent: int = 0

    @contextlib.asynccontextmanager
    async def client(self, *, bare: bool = False) -> AsyncIterator[Client]:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.bare_port if bare else self.port))
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def stream(self, body: bytes, writer: ResponseWriter) -> None:
        """Send pieces: three, or as many as the client takes."""
        writer.begin(200, {"X-By": "fast path"})
        try:
            while b"endless" in body:
                self.sent += len(PIECE)
                if not writer.put(PIECE):
                    await writer.flush()
                await asyncio.sleep(0)
            writer.put(b"one ")
            if b"then fail" in body:
                raise RuntimeError("secret")
            if b"gate" in body:
                await self.gate.wait()
            assert writer.put(b"two ")
            await writer.flush()
        except asyncio.CancelledError:
            self.cancelled.append(body)
            raise
        writer.end(b"three")

    async def handle(self, request: PlainRequest) -> PlainResponse | None:
        """Echo; what else it does, the body says."""
        body = request.body
        self.begun.append(body)
        if b"wait" in body:
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled.append(body)
                raise
        if body == b"fail":
            raise RuntimeError("secret")
        if body.startswith(b"pieces"):
            await self.stream(body, request.writer)
            return None
        if body == b"split the answer":
            return PlainResponse(200, {"X-A": "1\r\nX-Smuggled: 1"}, b"")
        return PlainResponse(200, {"X-By": "fast path"}, b"x" * LARGE if b"large" in body else body)


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read(), headers={"X-By": "aiohttp"})


def failed(error: Exception) -> PlainResponse:
    return PlainResponse(500, {"X-By": "fast path"}, type(error).__name__.encode())


@contextlib.asynccontextmanager
async def running(
    *, keep_s: float = 5.0, write_s: float | None = None, drain_s: float = 5.0, max_body: int = 100_000
) -> AsyncIterator[Rig]:
    app = web.Application(client_max_size=max_body)
    app.router.add_post("/echo", echo)
    app.router.add_route("*", "/other", echo)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=drain_s)
    await runner.setup()
    rig = Rig(runner, free_port(), free_port())
    server = cast("web.Server", runner.server)
    await listen(
        runner, ("127.0.0.1", rig.port), {LINE: rig.handle}, failed,
        max_body=max_body, keep_alive_s=keep_s, write_timeout_s=write_s,
    )  # fmt: skip
    await web.TCPSite(runner, "127.0.0.1", rig.bare_port).start()
    try:
        yield rig
    finally:
        await runner.cleanup()
    assert not server.connections
