"""Kept connections: which are used again, and which bytes belong to a response."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shared.quick_http import ConnectTimeout, NotConnected, QuickHttp
from shared.quick_http import connection as quick_connection
from shared.quick_http import pool as quick_pool

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


class Server:
    """Answers each request with the same bytes, and counts its connections."""

    def __init__(self, answer: bytes, *, later: bytes = b"", pause_s: float = 0.0) -> None:
        self.connections = self.requests = 0
        self.url = ""
        self._answer, self._later, self._pause_s = answer, later, pause_s

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, which stays open."""
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
                self.requests += 1
                await asyncio.sleep(self._pause_s)
                writer.write(self._answer)
                if self._later:
                    await asyncio.sleep(0.05)
                    writer.write(self._later)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def served(server: Server) -> AsyncIterator[Server]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    yield server
    listener.close()


@pytest.mark.parametrize(
    ("answer", "connections"),
    [
        (WHOLE, 1),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 1),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", 1),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + WHOLE, 1),
        (WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"), 2),
        (WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: Close\r\n\r\n"), 2),
        (WHOLE + b"HTTP/1.1 200 OK\r\n", 2),
    ],
    ids=["whole", "204", "304", "early hints", "HTTP/1.0", "close", "bytes behind it"],
)
async def test_a_connection_is_used_again_only_where_it_may_be(answer: bytes, connections: int) -> None:
    """A response without a body is complete with its head, and a 1xx is none."""
    body = b"" if b" 204 " in answer or b" 304 " in answer else b"hi"
    async with served(Server(answer)) as server, QuickHttp(server.url) as http:
        for _ in range(2):
            assert (await http.request("GET", "/", within_s=5)).body == body
        assert (server.requests, server.connections) == (2, connections)


async def test_a_large_request_goes_by_a_new_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could not be sent again without keeping it in memory."""
    monkeypatch.setattr(quick_pool, "LARGE_BYTES", 10_000)
    async with served(Server(WHOLE)) as server, QuickHttp(server.url) as http:
        counts = []
        for size in (1, 1, 20_000):
            answer = await http.open("POST", "/", b"x" * size, within_s=5)
            assert await answer.read(5) == b"hi"
            answer.close()
            counts.append(server.connections)
    assert counts == [1, 1, 2]


async def test_bytes_that_follow_a_response_are_no_part_of_it() -> None:
    """Also while the response waits for its reader, and where they look like another chunk."""
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    async with served(Server(answer, later=b"5\r\nthere\r\n")) as server, QuickHttp(server.url) as http:
        for connections in (1, 2):
            incoming = await http.open("GET", "/", within_s=5)
            await asyncio.sleep(0.15)
            read = b""
            while not incoming.ended:
                read += await incoming.read(5)
            incoming.close()
            assert (read, server.connections) == (b"hi", connections)


async def test_a_408_that_comes_late_is_the_response(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server may have worked on the request: it is not sent again."""
    monkeypatch.setattr(quick_connection, "STALE_S", 0.02)
    late = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"
    async with served(Server(late, pause_s=0.1)) as server, QuickHttp(server.url) as http:
        for requests in (1, 2):
            incoming = await http.open("POST", "/", within_s=5)
            incoming.close()
            assert (incoming.status, server.requests) == (408, requests)


async def test_a_call_without_a_connection_leaves_its_place_to_the_next(unused_tcp_port: int) -> None:
    """Failures do not use up the pool."""
    async with QuickHttp(f"http://127.0.0.1:{unused_tcp_port}", limit=1) as http, asyncio.timeout(5):
        for _ in range(3):
            with pytest.raises(NotConnected):
                await http.open("POST", "/")


async def test_connecting_takes_no_longer_than_its_own_time() -> None:
    """A host that swallows packets is given up before the request's time is over."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]  # the queue is full: the next connection gets no answer
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        async with QuickHttp(f"http://127.0.0.1:{port}", connect_s=0.1) as http, asyncio.timeout(4):
            with pytest.raises(ConnectTimeout):
                await http.request("GET", "/", within_s=5)
        for one in waiting:
            one.close()
