"""What a lane writes: whole answers, and answers in pieces."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple

_LAST_CHUNK = b"0\r\n\r\n"


class Answer(NamedTuple):
    """An answer; its length and date are added."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ResponseWriter:
    """The way out of one connection.

    An answer in pieces is begun, put piece by piece and ended; its head goes out with the first piece. A piece is
    written at once: whoever puts more than the client reads is told by `put`, and waits in `flush`.

    Attributes:
        begun: whether an answer in pieces has begun and not ended.
        full: whether the client has to read before more is written; true for good once it is gone.
        last: whether the connection closes behind the next answer, which says so.
    """

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._room: asyncio.Future[None] | None = None
        self._held = b""
        self.begun = self.full = self.last = False

    def open(self, transport: asyncio.WriteTransport) -> None:
        """The client is here."""
        self._transport = transport

    def write(self, answer: Answer) -> None:
        """Write a whole answer."""
        head = _head(answer.status, answer.headers, f"Content-Length: {len(answer.body)}", last=self.last)
        self._write(head + answer.body)

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Begin an answer in pieces."""
        self._held = _head(status, headers, "Transfer-Encoding: chunked", last=self.last)
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
        """There is room again."""
        self.full = False
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def leave(self) -> None:
        """The client is gone: nothing is written any more, and who waits for room waits until cancelled."""
        self._transport = None
        self.full = True

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(self._held + data)
            self._held = b""


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
