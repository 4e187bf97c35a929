"""One connection: a question out, its answer in, whole or piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

MAX_HEAD_BYTES = 65_536
MAX_UNREAD_BYTES = 262_144
"""What a stream keeps for a reader who is slower; beyond it, the sender waits."""
KEEP_S = 30.0
"""An idle connection is used again within this; one that was silent for long may be dead without knowing."""
_NO_BODY = frozenset({204, 304})


Take = Callable[[bytes], bool]
"""Takes a piece of a body; returns whether it wants more at once."""


class BadReply(ConnectionError):
    """What came back is not an answer that we understand; its connection is closed."""


class Closed(ConnectionError):
    """The connection ended before a byte of an answer had come."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection(asyncio.Protocol):
    """One connection: one question at a time. `_left` counts what is missing of a body or a chunk; None: to the end."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._buffer = bytearray()
        self._taker: Take | None = None
        self._since = 0.0
        self._asked = self._keeps = False
        self._begin(whole=True, most=0)

    def _begin(self, *, whole: bool, most: int) -> None:
        self._whole, self._most = whole, most
        self._head: tuple[int, dict[str, str]] | None = None
        self._body = bytearray()
        self._left: int | None = 0
        self._chunked = self._inside = self._complete = self._paused = False
        self._error: ConnectionError | None = None

    # -- asking ----------------------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether it is open, not too old, and nothing has come that nobody asked for."""
        transport = self._transport
        fresh = self._loop.time() - self._since < KEEP_S
        return transport is not None and not transport.is_closing() and not self._buffer and fresh

    @property
    def ended(self) -> bool:
        """Whether the answer is complete and read."""
        return self._complete and not self._body

    async def exchange(self, message: bytes, most: int, until: float | None) -> Reply:
        """Send a message; return its answer, of at most `most` bytes. Raises TimeoutError."""
        self._send(message, whole=True, most=most)
        while not self._complete:
            await self._more(until)
        status, headers = self._head or (0, {})
        body, self._body = bytes(self._body), bytearray()
        return Reply(status, headers, body)

    async def open(self, message: bytes, until: float | None) -> tuple[int, Mapping[str, str]]:
        """Send a message; return the head of its answer. Raises TimeoutError."""
        self._send(message, whole=False, most=2**62)
        while self._head is None:
            await self._more(until)
        return self._head

    async def read(self, within_s: float) -> bytes:
        """Return what has come of the body. Raises TimeoutError."""
        until = self._loop.time() + within_s
        while not self._body and not self._complete:
            await self._more(until)
        return self._read()

    async def pour(self, take: Take, left_s: Callable[[], float]) -> None:
        """Hand what comes of the body to `take`, to its end or until it wants no more. Raises TimeoutError.

        Nobody is woken for a piece: it is handed over as soon as it is here. `left_s` says how long the next one may
        take; it is asked only when that may have passed.
        """
        self._taker = take
        try:
            self._hand_over()
            while self._taker is not None and not self._complete:
                until = self._loop.time() + left_s()
                with suppress(TimeoutError):
                    await self._more(until)
                if self._taker is not None and left_s() <= 0:
                    raise TimeoutError
        finally:
            self._taker = None

    def _hand_over(self) -> None:
        if self._body and self._taker is not None and not self._taker(self._read()):
            self._taker = None

    def _read(self) -> bytes:
        data, self._body = bytes(self._body), bytearray()
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    def _send(self, message: bytes, *, whole: bool, most: int) -> None:
        if self._transport is None:
            raise Closed
        self._begin(whole=whole, most=most)
        self._asked = True
        self._transport.write(message)

    async def _more(self, until: float | None) -> None:
        if self._error is not None:
            raise self._error
        waiter = self._waiter = self._loop.create_future()
        # A third of what `asyncio.timeout` costs, for each piece of a stream.
        timer = None if until is None else self._loop.call_at(until, _late, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def rest(self) -> bool:
        """Return whether it can be kept for another question."""
        self._asked, self._since = False, self._loop.time()
        return self.ended and self._keeps and self.usable

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # -- hearing ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of no class of asyncio
        self._since = self._loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a body that goes on to here; fail any other."""
        self._transport = None
        if self._head is not None and self._left is None and exc is None:
            self._complete = True
        begun = self._head is not None or bool(self._buffer)
        self._fail(BadReply("the answer was cut") if begun else Closed(str(exc or "closed")))

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        self._buffer += data
        if not self._asked or self._complete:
            self.abort()  # nobody asked
            return
        try:
            self._parse()
        except (ValueError, BadReply) as error:
            self._fail(error if isinstance(error, BadReply) else BadReply("not HTTP"))
            self.abort()
            return
        if self._taker is not None:
            self._hand_over()
        if self._complete or not (self._whole or self._taker):
            self._wake()
        if len(self._body) > MAX_UNREAD_BYTES and not self._whole and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: ConnectionError) -> None:
        self._error = self._error or error
        self._wake()

    def _parse(self) -> None:
        if self._head is None:
            self._head = self._read_head()
            if self._head is None:
                return
            self._frame(*self._head)
        if self._chunked:
            self._read_chunks()
        else:
            self._take()
            self._complete = self._left == 0

    def _read_head(self) -> tuple[int, dict[str, str]] | None:
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
            del self._buffer[: end + 4]
            protocol, _, rest = first.partition(" ")
            if not protocol.startswith("HTTP/1."):
                raise BadReply("not HTTP/1")
            status = int(rest[:3])
            if status >= 200:
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                self._keeps = protocol != "HTTP/1.0" and headers.get("connection", "").lower() != "close"
                return status, headers
        if len(self._buffer) > MAX_HEAD_BYTES:
            raise BadReply("too long a head")
        return None

    def _frame(self, status: int, headers: Mapping[str, str]) -> None:
        """Find out where the body ends."""
        self._chunked = "transfer-encoding" in headers
        if self._chunked:
            return
        length = 0 if status in _NO_BODY else int(headers.get("content-length", -1))
        if length < 0 and "content-length" not in headers and not self._whole:
            self._left = None
        elif 0 <= length <= self._most:
            self._left = length
        else:
            raise BadReply("a body of unknown or excessive length")

    def _take(self) -> None:
        """Move what is there of a body or a chunk."""
        end = len(self._buffer) if self._left is None else min(self._left, len(self._buffer))
        self._body += self._buffer[:end]
        del self._buffer[:end]
        if self._left is not None:
            self._left -= end

    def _read_chunks(self) -> None:
        while self._in_chunk_read():
            end = self._buffer.find(b"\r\n")
            if end < 0:
                break
            size = int(self._buffer[:end].partition(b";")[0], 16)
            if not 0 <= size <= self._most - len(self._body):
                raise BadReply("too long a body")
            if size == 0:
                tail = self._buffer.find(b"\r\n\r\n", end)  # behind the trailers, if there are any
                if tail >= 0:
                    del self._buffer[: tail + 4]
                    self._complete = True
                    return
                break
            behind = end + 2 + size
            if len(self._buffer) >= behind + 2:  # all of it is here: a stream's are small
                self._body += self._buffer[end + 2 : behind]
                del self._buffer[: behind + 2]
            else:
                del self._buffer[: end + 2]
                self._left, self._inside = size, True
        if len(self._buffer) > MAX_HEAD_BYTES:
            raise BadReply("too long a line")

    def _in_chunk_read(self) -> bool:
        """Take what is there of the chunk that has begun; return whether it is over, or none has begun."""
        if self._left:
            self._take()
            if self._left:
                return False
        if self._inside:
            if len(self._buffer) < 2:
                return False
            del self._buffer[:2]
            self._inside = False
        return True


def _late(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
