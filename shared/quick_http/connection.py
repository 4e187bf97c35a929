"""HTTP/1.1 client connection: one request at a time, its response whole or in pieces."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import cast

from shared.clock import DeadlineTimer, idle_clock
from shared.quick_http.replies import BadReply, Closed, Reply, only_chunk

MAX_HEAD_BYTES = 65_536
MAX_UNREAD_BYTES = 262_144
"""Bytes of a stream that are buffered for a slow reader; beyond it, the sender waits."""
KEEP_S = 30.0
"""Idle time after which a connection is not used again: it may be dead without a sign."""
STALE_S = 1.0
"""A kept connection that ends this soon after a request, without a response, was closed before the request came."""
_NO_BODY = frozenset({204, 304})

Take = Callable[[bytes], bool]
"""Takes a piece of a body; returns whether it can take more now."""


class Connection(asyncio.Protocol):
    """One connection: one request at a time.

    `_left` is the number of bytes missing of a body, or of a chunk with the end of its line; None: the body ends with
    the connection.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer = DeadlineTimer(self._on_timeout)
        self._unread = b""  # an incomplete line or head
        self._taker: Take | None = None
        self._since = self._asked_at = 0.0
        self._asked = self._keeps = False
        self._begin(whole=True, most=0)

    def _begin(self, *, whole: bool, most: int) -> None:
        self._whole, self._most = whole, most
        self._head: tuple[int, dict[str, str]] | None = None
        self._body = bytearray()
        self._left: int | None = 0
        self._chunked = self._complete = self._paused = self._begun = False
        self._error: ConnectionError | None = None

    # -- request ---------------------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether it is open, not idle for too long, and without bytes that belong to no request."""
        transport = self._transport
        alive = transport is not None and not transport.is_closing() and not self._unread
        return alive and idle_clock() - self._since < KEEP_S

    @property
    def just_asked(self) -> bool:
        """Whether the request is so young that a server which closes now cannot have worked on it."""
        return self._loop.time() - self._asked_at < STALE_S

    @property
    def ended(self) -> bool:
        """Whether the response is complete and read."""
        return self._complete and not self._body

    @property
    def delimited(self) -> bool:
        """Whether the body ends by its length or last chunk, not with the connection."""
        return self._left is not None

    async def exchange(self, message: bytes, most: int, until: float | None) -> Reply:
        """Send a request; return its response, of at most `most` bytes. Raises TimeoutError."""
        self._send(message, whole=True, most=most)
        while not self._complete:
            await self._more(until)
        return Reply(*(self._head or (0, {})), self._read())

    def send(self, message: bytes) -> None:
        """Send a request whose response is read by `head`, and then by `read` or `pour`."""
        self._send(message, whole=False, most=2**62)

    async def head(self, until: float | None) -> tuple[int, Mapping[str, str]]:
        """Return status and headers of the response. Raises TimeoutError."""
        while self._head is None:
            await self._more(until)
        return self._head

    async def read(self, within_s: float) -> bytes:
        """Return what has arrived of the body. Raises TimeoutError."""
        until = self._loop.time() + within_s
        while not self._body and not self._complete:
            await self._more(until)
        return self._read()

    async def pour(self, take: Take, left_s: Callable[[], float]) -> None:
        """Pass what arrives of the body to `take`, to its end or until `take` returns False. Raises TimeoutError.

        A piece is passed on as soon as it arrives, without waking a task. `left_s` returns the time left for the next
        one; it is called only when that may be over.
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
        if self._body:
            self._give(self._read())

    def _give(self, piece: bytes) -> None:
        """Pass a piece to `take`; wake the caller of `pour` if it cannot take more."""
        if self._taker is not None and not self._taker(piece):
            self._taker = None
            self._wake()

    def _read(self) -> bytes:
        data, self._body = bytes(self._body), bytearray()
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    def _send(self, message: bytes, *, whole: bool, most: int) -> None:
        self._asked_at = self._loop.time()
        if self._transport is None:
            raise Closed
        self._begin(whole=whole, most=most)
        self._asked = True
        self._transport.write(message)

    async def _more(self, until: float | None) -> None:
        if self._error is not None:
            raise self._error
        waiter = self._waiter = self._loop.create_future()
        if until is not None:
            self._timer.set(until)
        try:
            await waiter
        finally:
            self._waiter = None
            self._timer.set(math.inf)

    def _on_timeout(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(TimeoutError())

    def finish(self) -> bool:
        """End a request; return whether the connection can be kept for another one."""
        self._asked, self._since = False, idle_clock()
        return self.ended and self._keeps and self.usable

    def abort(self) -> None:
        """Close without sending what is buffered."""
        if self._transport is not None:
            self._transport.abort()

    # -- response --------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of no class of asyncio
        self._since = idle_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Complete a body that ends with the connection; fail any other."""
        self._transport = None
        self._timer.stop()
        if self._head is not None and self._left is None and exc is None:
            self._complete = True
        begun = self._begun or self._head is not None or bool(self._unread)
        self._fail(BadReply("the response was cut") if begun else Closed(str(exc or "closed")))

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived."""
        if self._unread:
            data = self._unread + data
        if not self._asked or self._complete:
            self._unread = data
            self.abort()  # it belongs to no request
            return
        if self._taker is not None and self._chunked and not self._left and (piece := only_chunk(data)):
            self._unread = b""
            self._give(piece)
            return
        try:
            self._unread = self._parse(data)
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

    def _parse(self, data: bytes) -> bytes:
        """Parse complete parts; return the rest."""
        if self._head is None:
            self._head, data = self._read_head(data)
            if self._head is None:
                return data
            self._frame(*self._head)
        return self._read_chunks(data) if self._chunked else self._read_plain(data)

    def _read_head(self, data: bytes) -> tuple[tuple[int, dict[str, str]] | None, bytes]:
        """Return the head, if it is complete, and what follows it."""
        while (end := data.find(b"\r\n\r\n")) >= 0:
            first, *lines = data[:end].decode("latin-1").split("\r\n")
            data = data[end + 4 :]
            protocol, _, rest = first.partition(" ")
            if not protocol.startswith("HTTP/1."):
                raise BadReply("not HTTP/1")
            status = int(rest[:3])
            if status >= 200:
                headers = {name.lower(): value.strip() for name, _, value in [line.partition(":") for line in lines]}
                self._keeps = protocol != "HTTP/1.0" and headers.get("connection", "").lower() != "close"
                return (status, headers), data
            self._begun = True  # 1xx: the server has read the request
        if len(data) > MAX_HEAD_BYTES:
            raise BadReply("too long a head")
        return None, data

    def _frame(self, status: int, headers: Mapping[str, str]) -> None:
        """Set how the body ends. Raises BadReply."""
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

    def _read_plain(self, data: bytes) -> bytes:
        """Read a body without chunks; return what follows it."""
        if self._left is None:
            self._body += data
            return b""
        part = data[: self._left]
        self._body += part
        self._left -= len(part)
        self._complete = not self._left
        return data[len(part) :]

    def _read_chunks(self, data: bytes) -> bytes:
        """Read chunks; return an incomplete line, or what follows the last chunk."""
        at = 0
        while True:
            if self._left:
                end = at + self._left
                self._body += data[at : max(end - 2, at)]
                if end >= len(data):
                    self._left = end - len(data)
                    return b""
                at, self._left = end, 0
            end = data.find(b"\r\n", at)
            if end < 0:
                break
            size = int(data[at:end].partition(b";")[0], 16)
            if not 0 <= size <= self._most - len(self._body):
                raise BadReply("too long a body")
            if size == 0:
                tail = data.find(b"\r\n\r\n", end)  # after the trailers, if there are any
                if tail < 0:
                    break
                self._complete = True
                return data[tail + 4 :]
            at, self._left = end + 2, size + 2
        if len(data) - at > MAX_HEAD_BYTES:
            raise BadReply("too long a line")
        return data[at:]
