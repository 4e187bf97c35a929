"""A proxy in front of Redis that a test may cut, or let return errors of a Redis in trouble."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit


class Link:
    """Passes everything on while `whole`. Cut, it hangs up; with `says`, every command gets that error."""

    def __init__(self, url: str) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._open: set[asyncio.StreamWriter] = set()
        self.whole = True
        self.says = ""

    @contextlib.asynccontextmanager
    async def url(self) -> AsyncIterator[str]:
        """Serve it."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
            self.cut()

    def cut(self, says: str = "") -> None:
        """Let nothing through from now on."""
        self.whole, self.says = False, says
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    def mend(self) -> None:
        """Let everything through again, on new connections."""
        self.cut()
        self.whole = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if self.whole:
                there, back = await asyncio.open_connection(self._host, self._port)
                self._open.add(back)
                await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
            elif self.says:
                await self._complain(reader, writer)
        writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async def _complain(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            for _ in range(int(line[1:])):  # so many arguments, each behind its length
                await reader.readexactly(int((await reader.readline())[1:]) + 2)
            writer.write(f"-{self.says}\r\n".encode())
