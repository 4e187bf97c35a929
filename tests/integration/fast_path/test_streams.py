"""Streamed responses: sent as they are put, at the client's pace, and never complete-looking when cut."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.integration.fast_path.rig import LARGE, Client, Rig, plain, running
from tests.support.batching import until


async def head_of(client: Client) -> bytes:
    return await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 5)


async def at_rest(rig: Rig) -> int:
    """Return what had been sent when no more was."""
    sent = -1
    while sent != rig.sent:
        sent = rig.sent
        await asyncio.sleep(0.1)
    return sent


async def test_pieces_are_sent_and_the_connection_is_kept() -> None:
    """In order, with what is behind them after their end."""
    async with running() as rig, rig.client() as client:
        await client.send(plain(b"pieces") + plain(b"behind"))
        reply = await client.reply()
        assert (reply.status, reply.by, reply.body) == (200, "fast path", b"one two three")
        assert reply.headers["transfer-encoding"] == "chunked"
        assert reply.headers["date"].endswith("GMT")
        assert not {"content-length", "connection"} & reply.headers.keys()
        assert (await client.reply()).body == b"behind"
        assert (await client.ask(plain(b"pieces"))).body == b"one two three"


async def test_a_piece_does_not_wait_for_the_next() -> None:
    """With the first comes the head."""
    async with running() as rig, rig.client() as client:
        await client.send(plain(b"pieces, gate"))
        assert (await head_of(client)).startswith(b"HTTP/1.1 200 OK\r\n")
        assert await client.reader.readline() == b"4\r\n"
        assert await client.reader.readline() == b"one \r\n"
        rig.gate.set()
        assert await client.pieces() == b"two three"


async def test_who_reads_slowly_is_waited_for() -> None:
    """Little is buffered for it; when it reads on, more comes."""
    async with running() as rig, rig.client() as client:
        await client.send(plain(b"pieces, endless"))
        await head_of(client)
        for read in range(4):  # the system's own buffers hold some
            assert read * LARGE < await at_rest(rig) < (read + 1) * LARGE
            await client.reader.readexactly(LARGE)
        assert not rig.cancelled


async def test_who_does_not_read_is_cut_off() -> None:
    """At the write deadline, and not before it; its handler ends."""
    async with running(write_s=0.4) as rig, rig.client() as client:
        started = time.monotonic()
        await client.send(plain(b"pieces, endless"))
        await until(lambda: bool(rig.cancelled))
        assert time.monotonic() - started > 0.3
        server = rig.runner.server
        assert server is not None
        await until(lambda: not server.connections)  # uvloop closes them a moment after the handler has ended


async def test_who_leaves_cancels_its_handler() -> None:
    """Between two pieces, or while one waits for room."""
    for body in (b"pieces, gate", b"pieces, endless"):
        async with running() as rig:
            async with rig.client() as client:
                await client.send(plain(body))
                await head_of(client)
                await at_rest(rig)
            await until(lambda: rig.cancelled == [body])  # noqa: B023 - it is called before the next round


async def test_a_failure_between_pieces_cuts_the_answer() -> None:
    """A second answer would be read as part of the first; and what is behind is not begun."""
    async with running() as rig, rig.client() as client:
        await client.send(plain(b"pieces, then fail") + plain(b"behind"))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.reply()
        assert rig.begun == [b"pieces, then fail"]


async def test_draining_waits_for_the_last_piece() -> None:
    """Then the connection ends; what comes too late is cut, visibly."""
    async with running() as rig, rig.client() as client:
        await client.send(plain(b"pieces, gate"))
        await head_of(client)
        stopping = asyncio.create_task(rig.runner.cleanup())
        await asyncio.sleep(0.1)
        assert not stopping.done()
        rig.gate.set()
        assert await client.pieces() == b"one two three"
        assert await client.closed()
        await stopping
    async with running(drain_s=0.2) as rig, rig.client() as client:
        await client.send(plain(b"pieces, gate"))
        await head_of(client)
        await asyncio.wait_for(rig.runner.cleanup(), 2)
        assert rig.cancelled == [b"pieces, gate"]
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.pieces()
