"""Response writer of the fast path: whole responses, and responses in pieces."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple

_LAST_CHUNK = b"0\r\n\r\n"


class PlainResponse(NamedTuple):
    """A whole response; the writer adds its length and date."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ResponseWriter:
    """Writes the responses of one connection.

    A response in pieces is begun, put piece by piece and ended; its head is sent with the first piece. `put` writes
    right away, and returns False while the client has to read first: then wait in `flush`.

    Attributes:
        begun: whether a response in pieces has begun and not ended.
        full: whether the client has to read before more is written; stays true once it is gone.
        last: whether the connection closes after the next response, which says so.
    """

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._room: asyncio.Future[None] | None = None
        self._head = b""
        self.begun = self.full = self.last = False

    def open(self, transport: asyncio.WriteTransport) -> None:
        """Write to this transport from now on."""
        self._transport = transport
        self.full = False

    def write(self, response: PlainResponse) -> None:
        """Write a whole response."""
        framing = f"Content-Length: {len(response.body)}"
        self._write(_head(response.status, response.headers, framing, last=self.last) + response.body)

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Begin a response in pieces."""
        self._head = _head(status, headers, "Transfer-Encoding: chunked", last=self.last)
        self.begun = True

    def put(self, piece: bytes) -> bool:
        """Write a piece, which may not be empty; return whether there is room for more."""
        self._write(b"%x\r\n" % len(piece) + piece + b"\r\n")
        return not self.full

    async def flush(self) -> None:
        """Wait until there is room."""
        while self.full:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def end(self, piece: bytes) -> None:
        """Write the last piece."""
        self._write(b"%x\r\n" % len(piece) + piece + b"\r\n" + _LAST_CHUNK)
        self.begun = False

    def resume(self) -> None:
        """Let `flush` return: there is room again."""
        self.full = False
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def leave(self) -> None:
        """Write nothing any more; `flush` waits until it is cancelled."""
        self._transport = None
        self.full = True

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(self._head + data)
            self._head = b""


def _head(status: int, headers: Mapping[str, str], framing: str, *, last: bool) -> bytes:
    rows = [f"{name}: {value}\r\n" for name, value in headers.items()]
    fields = "".join(rows)
    if fields.count("\n") != len(rows) or fields.count("\r") != len(rows):
        raise ValueError("a header holds the end of a line")
    close = "Connection: close\r\n" if last else ""
    head = f"HTTP/1.1 {_status(status)}\r\n{fields}{framing}\r\nDate: {_date(int(time.time()))}\r\n{close}\r\n"
    return head.encode("latin-1")


@functools.lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


@functools.cache
def _status(status: int) -> str:
    return f"{status} {HTTPStatus(status).phrase}"
