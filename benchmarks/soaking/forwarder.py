"""TCP forwarder: one address that leads to a server, later to another one, slowly, or for a while nowhere."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

NEXT_S = 1e-6
"""Later than the chunk before by this much at least, so that chunks keep their order."""


class Forwarder:
    """Forwards what comes to `port` to `target`; connections that are open stay where they lead.

    `delay_s`: time by which it holds back what clients send.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.dialled = 0
        self.delay_s = 0.0
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
            await asyncio.gather(pair.pipe(reader, _Delayed(self, forth)), pair.pipe(back, writer))
        except OSError:
            pass
        finally:
            self._open.discard(pair)
            for end in (writer, forth):
                if end is not None:
                    end.close()


class _Delayed:
    """Writer that holds each chunk back for the forwarder's delay at that time."""

    def __init__(self, forwarder: Forwarder, writer: asyncio.StreamWriter) -> None:
        self._forwarder, self._writer = forwarder, writer
        self._loop = asyncio.get_running_loop()
        self._due = 0.0

    def write(self, data: bytes) -> None:
        """Write later, or now."""
        now = self._loop.time()
        if self._forwarder.delay_s or self._due > now:
            self._due = max(now + self._forwarder.delay_s, self._due + NEXT_S)
            self._loop.call_at(self._due, self._writer.write, data)
        else:
            self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the receiver has room."""
        await self._writer.drain()

    def close(self) -> None:
        """Close after the last chunk."""
        self._loop.call_at(self._due + NEXT_S, self._writer.close)


class _Pair:
    def __init__(self) -> None:
        self.thawed = asyncio.Event()
        self.thawed.set()

    async def pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter | _Delayed) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self.thawed.wait()
                writer.write(data)
                await writer.drain()
            await self.thawed.wait()
        writer.close()


@asynccontextmanager
async def forwarding(target: int, port: int = 0) -> AsyncIterator[Forwarder]:
    """Run a forwarder to a port of this machine, on `port` or any free one."""
    forwarder = Forwarder(target)
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        with contextlib.suppress(asyncio.CancelledError):  # at the end; asyncio logs a cancelled handler as an error
            await forwarder.accept(reader, writer)

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    forwarder.port = server.sockets[0].getsockname()[1]
    try:
        yield forwarder
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
