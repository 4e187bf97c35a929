"""The forwarder between parts: slow, and dead without an end."""

from __future__ import annotations

import asyncio
import time

import pytest

from benchmarks.soaking.forwarder import forwarding


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
    writer.close()


async def test_a_slow_connection_keeps_its_order_and_becomes_fast_again() -> None:
    """Each line comes back after the delay at least; what is sent after the delay has ended does not overtake it."""
    async with (
        await asyncio.start_server(echo, "127.0.0.1", 0) as server,
        forwarding(server.sockets[0].getsockname()[1]) as forwarder,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", forwarder.port)
        forwarder.delay_s = 0.2
        began = time.monotonic()
        writer.write(b"first\n")
        await asyncio.sleep(0.05)
        writer.write(b"second\n")
        await asyncio.sleep(0.05)
        forwarder.delay_s = 0.0
        writer.write(b"third\n")
        assert [await reader.readline() for _ in range(3)] == [b"first\n", b"second\n", b"third\n"]
        assert time.monotonic() - began >= 0.25
        writer.close()


async def test_a_frozen_connection_stays_open_and_silent_and_new_ones_work() -> None:
    """As when a peer has vanished: neither data nor an end comes."""
    async with (
        await asyncio.start_server(echo, "127.0.0.1", 0) as server,
        forwarding(server.sockets[0].getsockname()[1]) as forwarder,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", forwarder.port)
        writer.write(b"before\n")
        assert await reader.readline() == b"before\n"
        forwarder.freeze()
        writer.write(b"after\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readline(), 0.3)
        again, other = await asyncio.open_connection("127.0.0.1", forwarder.port)
        other.write(b"new\n")
        assert await again.readline() == b"new\n"
        writer.close()
        other.close()
