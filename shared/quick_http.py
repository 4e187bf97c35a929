"""HTTP/1.1 to one of our own services, for the two calls that every decision waits for.

A call takes about a tenth of the processor time of the same call by aiohttp's client: no
redirects, no cookies, no compression, no proxies; whole bodies only. Everything else, the upstream above all, goes by
aiohttp.

A call is sent again once where a kept connection turns out to be closed before a byte has come back. So only what may
arrive twice goes this way; all that we ask of the embedder and of Qdrant may.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self, cast
from urllib.parse import unquote, urlsplit

MAX_HEAD_BYTES = 65_536
MAX_BODY_BYTES = 256 * 1024 * 1024
_NO_BODY = frozenset({204, 304})


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


class QuickHttp:
    """A pool of connections to one address, at most `limit`; whoever finds none free waits."""

    def __init__(self, base_url: str, *, limit: int = 64) -> None:
        """Take the address; a path in it is a prefix, a name and a password in it are sent as Basic authorization."""
        parts = urlsplit(base_url)
        self.base_url = base_url.rstrip("/")
        self._prefix = parts.path.rstrip("/")
        self._host = parts.hostname or ""
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._head = f"Host: {parts.netloc.rpartition('@')[2]}\r\n"
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._head += f"Authorization: Basic {base64.b64encode(pair).decode()}\r\n"
        self._places = asyncio.Semaphore(limit)
        self._idle: list[_Connection] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()
        await asyncio.sleep(0)  # the event loop tells the transports

    def close(self) -> None:
        """Close the connections that nobody uses; calls under way close theirs when they end."""
        while self._idle:
            self._idle.pop().abort()

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None,
        *, most: int = MAX_BODY_BYTES,
    ) -> Reply:  # fmt: skip
        """Return the answer, whatever its status. Raises OSError; deadlines are the caller's."""
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items()) if headers else ""
        head = f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._head}{more}Content-Length: {len(body)}\r\n\r\n"
        message = head.encode("latin-1") + body
        async with self._places:
            while self._idle:
                kept = self._idle.pop()
                if kept.usable:
                    try:
                        return await self._exchange(kept, message, most)
                    except Closed:
                        break
            return await self._exchange(await self._connect(), message, most)

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(_Connection, self._host, self._port, ssl=self._tls)
        return made

    async def _exchange(self, connection: _Connection, message: bytes, most: int) -> Reply:
        try:
            reply = await connection.exchange(message, most)
        except BaseException:  # cancelled, too: what comes now belongs to nobody
            connection.abort()
            raise
        if connection.usable and reply.headers.get("connection", "").lower() != "close":
            self._idle.append(connection)
        else:
            connection.abort()
        return reply


class _Connection(asyncio.Protocol):
    """One connection: one question at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Reply] | None = None
        self._most = 0
        self._buffer = bytearray()
        self._chunks = bytearray()
        self._head: tuple[int, dict[str, str]] | None = None

    @property
    def usable(self) -> bool:
        """Whether it is open, and nothing has come that nobody asked for."""
        return self._transport is not None and not self._transport.is_closing() and not self._buffer

    async def exchange(self, message: bytes, most: int) -> Reply:
        """Send a message; return its answer."""
        if self._transport is None:
            raise Closed
        self._most, self._head = most, None
        self._chunks.clear()
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        return await self._answer

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of no class of asyncio

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits."""
        self._transport = None
        begun = self._head is not None or bool(self._buffer)
        self._fail(BadReply("the answer was cut") if begun else Closed(str(exc or "closed")))

    def data_received(self, data: bytes) -> None:
        """Take what has come; an answer is handed over when it is whole."""
        self._buffer += data
        if self._answer is None or self._answer.done():
            self.abort()  # nobody asked
            return
        try:
            if self._head is None:
                self._head = self._read_head()
            body = None if self._head is None else self._read_body(*self._head)
        except (ValueError, BadReply) as error:
            self._fail(error if isinstance(error, BadReply) else BadReply("not HTTP"))
            self.abort()
            return
        if self._head is not None and body is not None:
            self._answer.set_result(Reply(*self._head, body))

    def _fail(self, error: ConnectionError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def _read_head(self) -> tuple[int, dict[str, str]] | None:
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
            del self._buffer[: end + 4]
            protocol, _, rest = first.partition(" ")
            if not protocol.startswith("HTTP/1."):
                raise BadReply("not HTTP/1")
            status = int(rest[:3])
            if status >= 200:
                named = (line.partition(":") for line in lines)
                return status, {name.lower(): value.strip() for name, _, value in named}
        if len(self._buffer) > MAX_HEAD_BYTES:
            raise BadReply("too long a head")
        return None

    def _read_body(self, status: int, headers: Mapping[str, str]) -> bytes | None:
        """Return the body, or None while it is not whole."""
        if "transfer-encoding" in headers:
            return self._read_chunks()
        length = 0 if status in _NO_BODY else int(headers.get("content-length", -1))
        if not 0 <= length <= self._most:
            raise BadReply("a body of unknown or excessive length")
        if len(self._buffer) < length:
            return None
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    def _read_chunks(self) -> bytes | None:
        """Return a chunked body when all of it is here."""
        while (end := self._buffer.find(b"\r\n")) >= 0:
            size = int(self._buffer[:end].partition(b";")[0], 16)
            if not 0 <= size <= self._most - len(self._chunks):
                raise BadReply("too long a body")
            if size == 0:
                tail = self._buffer.find(b"\r\n\r\n", end)  # behind the trailers, if there are any
                if tail >= 0:
                    del self._buffer[: tail + 4]
                    return bytes(self._chunks)
                break
            if len(self._buffer) < end + size + 4:
                return None
            self._chunks += self._buffer[end + 2 : end + 2 + size]
            del self._buffer[: end + size + 4]
        if len(self._buffer) > MAX_HEAD_BYTES:
            raise BadReply("too long a line")
        return None
