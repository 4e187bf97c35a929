"""A TCP forwarder: one address that leads to a server, later to another one, or for a while nowhere."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Forwarder:
    """Forwards what comes to `port` to `target`; connections that are open stay where they lead."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.dialled = 0
        self._open: set[_Pair] = set()

    def freeze(self) -> None:
        """Stop forwarding on the connections that are open, without closing them; new ones work."""
        for pair in self._open:
            pair.thawed.clear()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.dialled += 1
        pair = _Pair()
        self._open.add(pair)
        forth = None
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(pair.pipe(reader, forth), pair.pipe(back, writer))
        except OSError:
            pass
        finally:
            self._open.discard(pair)
            for end in (writer, forth):
                if end is not None:
                    end.close()


class _Pair:
    def __init__(self) -> None:
        self.thawed = asyncio.Event()
        self.thawed.set()

    async def pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self.thawed.wait()
                writer.write(data)
                await writer.drain()
            await self.thawed.wait()
        writer.close()


@asynccontextmanager
async def forwarding(target: int) -> AsyncIterator[Forwarder]:
    """Run a forwarder to a port of this machine."""
    forwarder = Forwarder(target)
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await forwarder.accept(reader, writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    forwarder.port = server.sockets[0].getsockname()[1]
    try:
        yield forwarder
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
