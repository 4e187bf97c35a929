"""Connection pool of one address."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

import aiohappyeyeballs

from shared.keep_alive import keep_alive
from shared.quick_http.connection import Connection, Take
from shared.quick_http.proxy import PROXY_AUTHENTICATION_REQUIRED, Proxy, ProxyRefused, ProxyUnreachable
from shared.quick_http.replies import Closed, ConnectTimeout, NotConnected, Reply

MAX_BODY_BYTES = 256 * 1024 * 1024
REQUEST_TIMEOUT = 408
LARGE_BYTES = 1_048_576
"""Requests of this size and larger get a new connection: to send one again, it would have to be kept in memory."""

EYEBALLS_S = 0.25
"""Delay after which the next address of a host is tried concurrently (RFC 8305)."""


class QuickHttp:
    """Pool of at most `limit` connections to one address; calls wait for a free one."""

    def __init__(
        self,
        base_url: str,
        *,
        limit: int = 64,
        connect_s: float | None = None,
        proxy: Proxy | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Take the address.

        A path in it is a prefix of each call's, its query (`?api-version=…`) is sent with each call, a name and a
        password in it are sent as Basic authorization. `tls` is what an https address is checked by, if not by the
        system's authorities.
        """
        parts = urlsplit(base_url)
        self.base_url = base_url.rstrip("/")
        self._prefix = parts.path.rstrip("/")
        self._query = parts.query
        self._host = parts.hostname or ""
        self._tls = tls or ssl.create_default_context() if parts.scheme == "https" else None
        if self._tls is not None:
            self._tls.set_alpn_protocols(["http/1.1"])
        self._port = parts.port or (443 if self._tls else 80)
        authority = parts.netloc.rpartition("@")[2]
        self._head = f"Host: {authority}\r\n"
        self._proxy = proxy
        self._forwarded = proxy is not None and self._tls is None
        if proxy is not None and self._forwarded:
            self._prefix = f"http://{authority}{self._prefix}"
            self._head += proxy.header
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._head += f"Authorization: Basic {base64.b64encode(pair).decode()}\r\n"
        self._connect_s = connect_s
        self._places = asyncio.Semaphore(limit)
        self._idle: list[Connection] = []
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()
        await asyncio.sleep(0)  # the transports close in the next step of the event loop

    def close(self) -> None:
        """Close idle connections; calls in flight close theirs when they end."""
        self._closed = True
        while self._idle:
            self._idle.pop().abort()

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None,
        *, most: int = MAX_BODY_BYTES, within_s: float | None = None,
    ) -> Reply:  # fmt: skip
        """Return the response, of any status. Raises OSError, and TimeoutError after `within_s`."""
        message = self._message(method, path, body, headers)
        until = _until(within_s)
        await self._place(until)
        try:
            kept = self._kept()
            if kept is not None:
                try:
                    reply = await self._exchange(kept, message, most, until)
                    if reply.status != REQUEST_TIMEOUT or not kept.just_asked:
                        self._check(reply.status)
                        return reply
                except Closed:
                    pass
            reply = await self._exchange(await self._connect(until), message, most, until)
            self._check(reply.status)
            return reply
        finally:
            self._places.release()

    async def open(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None,
        *, within_s: float | None = None,
    ) -> Incoming:  # fmt: skip
        """Return the response as soon as its head has arrived; the caller must `close` it.

        Raises OSError, and TimeoutError if there is no head within `within_s`.
        """
        message = self._message(method, path, body, headers)
        del body  # the caller keeps none either, so that a large one is freed as soon as it is sent
        until = _until(within_s)
        await self._place(until)
        connection = None
        try:
            connection = self._kept() if len(message) < LARGE_BYTES else None
            head = None if connection is None else await self._reuse(connection, message, until)
            if connection is None or head is None:
                connection = None
                connection = await self._connect(until)
                connection.send(message)
                del message
                head = await connection.head(until)
            self._check(head[0])
            return Incoming(connection, *head, self._leave)
        except BaseException:  # cancelled, too
            self._leave(connection)
            raise

    async def _reuse(
        self, connection: Connection, message: bytes, until: float | None
    ) -> tuple[int, Mapping[str, str]] | None:
        """Return the head of the response on a kept connection; None, and the connection closed, if it was stale.

        A server may close an idle connection while a request is on its way to it, or answer 408 to nothing (RFC 9110,
        9.2.2 and 15.5.9): a close without a byte, or a 408, in the first moment is no answer to this request. Later it
        may be one: the server may have worked on it.
        """
        try:
            connection.send(message)
            head = await connection.head(until)
        except Closed:
            if not connection.just_asked:
                raise
            return None
        if head[0] == REQUEST_TIMEOUT and connection.just_asked:
            connection.abort()
            return None
        return head

    def _check(self, status: int) -> None:
        """Raise ProxyRefused for a response of the forwarding proxy itself: it has not forwarded the request."""
        if self._forwarded and status == PROXY_AUTHENTICATION_REQUIRED:
            raise ProxyRefused(status)

    async def _place(self, until: float | None) -> None:
        """Take a place of the pool. A timeout is set up only if it has to wait."""
        if self._places.locked():
            try:
                async with asyncio.timeout_at(until):
                    await self._places.acquire()
            except TimeoutError as error:
                raise ConnectTimeout("no connection was free in time") from error
        else:
            await self._places.acquire()

    def _leave(self, connection: Connection | None) -> None:
        if connection is not None:
            self._give_back(connection)
        self._places.release()

    def _message(self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None) -> bytes:
        rows = [f"{name}: {value}\r\n" for name, value in headers.items()] if headers else []
        more = "".join(rows)
        if more.count("\n") != len(rows):
            raise ValueError("a header of more than one line")
        if self._query:
            path += ("&" if "?" in path else "?") + self._query
        head = f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._head}{more}Content-Length: {len(body)}\r\n\r\n"
        return head.encode("utf-8", "surrogateescape") + body

    def _kept(self) -> Connection | None:
        while self._idle:
            kept = self._idle.pop()
            if kept.usable:
                return kept
            kept.abort()
        return None

    async def _connect(self, until: float | None) -> Connection:
        loop = asyncio.get_running_loop()
        latest = [instant for instant in (until, _until(self._connect_s)) if instant is not None]
        try:
            async with asyncio.timeout_at(min(latest, default=None)):
                sock = await self._dial()
                name = self._host if self._tls else None
                _, made = await loop.create_connection(Connection, sock=sock, ssl=self._tls, server_hostname=name)
        except TimeoutError as error:
            raise ConnectTimeout("no connection in time") from error
        except NotConnected:
            raise
        except OSError as error:
            raise NotConnected(str(error)) from error
        return made

    async def _dial(self) -> socket.socket:
        """Return a connected socket, through the proxy's tunnel if there is one. Names are resolved each time."""
        loop = asyncio.get_running_loop()
        host, port = (self._host, self._port) if self._proxy is None else (self._proxy.host, self._proxy.port)
        try:
            addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            sock = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=EYEBALLS_S, loop=loop)
        except OSError as error:
            if self._proxy is None or isinstance(error, TimeoutError):
                raise
            raise ProxyUnreachable(str(error)) from error
        try:
            keep_alive(sock)
            if self._proxy is not None and not self._forwarded:
                await self._proxy.open_tunnel(sock, self._host, self._port)
        except BaseException:  # cancelled, too
            sock.close()
            raise
        return sock

    async def _exchange(self, connection: Connection, message: bytes, most: int, until: float | None) -> Reply:
        try:
            return await connection.exchange(message, most, until)
        finally:
            self._give_back(connection)

    def _give_back(self, connection: Connection) -> None:
        """Keep a connection whose response is complete; close any other, since what comes belongs to no request."""
        if connection.finish() and not self._closed:
            self._idle.append(connection)
            if not self._idle[0].usable:  # the least recently used
                self._idle.pop(0).abort()
        else:
            connection.abort()


def _until(within_s: float | None) -> float | None:
    return None if within_s is None else asyncio.get_running_loop().time() + within_s


class Incoming:
    """A response whose body is still arriving; names of headers are in lower case."""

    def __init__(
        self, connection: Connection, status: int, headers: Mapping[str, str], leave: Callable[[Connection], None]
    ) -> None:
        self.status = status
        self.headers = headers
        self._connection = connection
        self._leave = leave

    @property
    def ended(self) -> bool:
        """Whether all of the body has been read."""
        return self._connection.ended

    @property
    def delimited(self) -> bool:
        """Whether the body ends by its length or last chunk; one that ends with the connection may be cut."""
        return self._connection.delimited

    async def read(self, within_s: float) -> bytes:
        """Return what has arrived, as soon as there is something; b"" at the end.

        Raises OSError if the body is cut, TimeoutError if nothing arrives in time.
        """
        return await self._connection.read(within_s)

    async def pour(self, take: Take, left_s: Callable[[], float]) -> None:
        """Pass what arrives to `take`, without waking the caller, to the end or until it returns False.

        `left_s` says how long the next piece may take. Raises OSError where the body is cut, and TimeoutError.
        """
        await self._connection.pour(take, left_s)

    def close(self) -> None:
        """Return the connection to the pool, or close it if the body is incomplete; call it once."""
        self._leave(self._connection)
