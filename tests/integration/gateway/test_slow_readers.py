"""Endless streams to a client that reads slowly, or no more: by the fast path and by aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from deploy.local.servers import free_port
from services.gateway.app import build_app
from services.gateway.http.server import serve
from shared.clients.chat_client import HttpChatModel, connections
from shared.schemas.records import Status
from tests.support import raw_upstream as raw
from tests.support.batching import until
from tests.support.fakes.gateway import World, settings_for

MIB = 1024 * 1024
EVENT = raw.event(raw.chunk("x" * 10_000))
BODY = orjson.dumps({"model": "a/small", "stream": True, "messages": [{"role": "user", "content": "Go on for ever."}]})
LISTED = {"data": [{"id": "a/small"}]}
ways = pytest.mark.parametrize("way", ["", "Connection: close\r\n"], ids=["fast path", "aiohttp"])


class Flood:
    """Answers with events until no more is read; `sent` counts bytes."""

    def __init__(self) -> None:
        self.sent = 0

    async def play(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
            await writer.drain()
            self.sent += len(EVENT)

    async def at_rest(self) -> int:
        """Return what had been sent when no more was."""
        sent = -1
        while sent != self.sent:
            sent = self.sent
            await asyncio.sleep(0.2)
        return sent


@dataclass
class Site:
    world: World
    upstream: raw.RawUpstream
    flood: Flood


@asynccontextmanager
async def flooded(tmp_path: Path, *, write_s: float = 30.0) -> AsyncIterator[Site]:
    """A gateway before a flood."""
    world, flood = World(settings_for(tmp_path / "spool", PORT=free_port())), Flood()
    async with raw.raw_upstream() as upstream, connections(upstream.url) as http:

        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            listing = upstream.seen[-1].line.startswith("GET ")
            await (raw.whole(LISTED) if listing else flood.play)(reader, writer)

        upstream.script = play
        world.upstream = HttpChatModel(  # type: ignore[assignment]  # the fake's place
            http, "a-key", first_byte_timeout_s=5, gap_timeout_s=0.4
        )
        runner = await serve(
            build_app(world.settings, world.adapters, world.file), world.settings, write_timeout_s=write_s
        )
        try:
            yield Site(world, upstream, flood)
        finally:
            await runner.cleanup()


@asynccontextmanager
async def asked(site: Site, way: str) -> AsyncIterator[asyncio.StreamReader]:
    """Ask on a new connection; yield it with its head read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(site.world.settings.PORT))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n{way}"
    writer.write(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
    try:
        assert b" 200 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        yield reader
    finally:
        writer.close()


@ways
async def test_a_slow_reader_holds_up_its_upstream_and_nothing_else(tmp_path: Path, way: str) -> None:
    """Little is kept for it; the time that it takes is not the upstream's, and when it reads on, more comes."""
    async with flooded(tmp_path) as site:
        async with asked(site, way) as reader:
            for read in range(3):
                assert read * 8 * MIB < await site.flood.at_rest() < (read * 8 + 24) * MIB  # the system's buffers, too
                await asyncio.sleep(0.5)  # longer than a gap may be
                await reader.readexactly(8 * MIB)
            assert not site.world.records
        await until(lambda: bool(site.world.records))
    assert site.world.records[0].outcome.status is Status.CANCELLED


@ways
async def test_who_does_not_read_is_cut_at_the_write_deadline(tmp_path: Path, way: str) -> None:
    """Its upstream call is closed, and what it cost so far is written down."""
    async with flooded(tmp_path, write_s=0.5) as site, asked(site, way):
        await until(lambda: bool(site.world.records))
        outcome = site.world.records[0].outcome
        assert outcome.status is Status.CANCELLED
        assert outcome.completion_tokens > 10
        await asyncio.wait_for(site.upstream.closed.wait(), 2)
