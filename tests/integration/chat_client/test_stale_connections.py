"""A kept connection that the upstream has closed costs nothing: the request goes out again, once, by a new one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import trustme
import uvloop

from shared.clients.chat_client import HttpChatModel, connections
from shared.clock import idle_clock
from shared.errors import UpstreamError
from shared.quick_http import connection as quick_connection
from tests.integration.chat_client.calls import KEY, both, call, failure

BODY = b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}'
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Upstream:
    """A server in a thread, so that it acts while the client's loop is busy. `ends` says what follows an answer."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests = 0
        self.connections = 0
        self.ends: Callable[[socket.socket], None] = lambda _connection: None
        self.first: Callable[[socket.socket], None] | None = None
        self.ended = threading.Event()
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(2)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                taken, _ = self._listener.accept()
                self.connections += 1
                self._threads.append(threading.Thread(target=self._serve, args=(taken, self.connections), daemon=True))
                self._threads[-1].start()

    def _serve(self, taken: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError), contextlib.closing(self._opened(taken)) as served:
            while self._read(served):
                self.requests += 1
                if self.first is not None:
                    self.first(served)
                    break
                served.sendall(WHOLE)
                if number == 1:
                    self.ends(served)
                    self.ended.set()

    def _opened(self, taken: socket.socket) -> socket.socket:
        return taken if self._tls is None else self._tls.wrap_socket(taken, server_side=True)

    @staticmethod
    def _read(served: socket.socket) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = served.recv(65_536)
            if not piece:
                return False
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]) - len(body)
        while left > 0:
            left -= len(served.recv(65_536))
        return True


def fin(served: socket.socket) -> None:
    time.sleep(0.05)
    served.close()


def reset(served: socket.socket) -> None:
    time.sleep(0.05)
    served.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    served.close()


def fin_after_the_request(served: socket.socket) -> None:
    Upstream._read(served)
    served.close()


def reset_after_the_request(served: socket.socket) -> None:
    Upstream._read(served)
    reset(served)


def timed_out(served: socket.socket) -> None:
    time.sleep(0.05)
    served.sendall(TIMED_OUT)
    served.close()


def close_notify(served: socket.socket) -> None:
    time.sleep(0.05)
    assert isinstance(served, ssl.SSLSocket)
    with contextlib.suppress(OSError):
        served.settimeout(0.05)
        served.unwrap()
    served.close()


@pytest.fixture
def server() -> Iterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.close()


@pytest.fixture
async def client(server: Upstream) -> AsyncIterator[HttpChatModel]:
    async with connections(f"http://127.0.0.1:{server.port}/v1") as http:
        yield HttpChatModel(http, KEY, first_byte_timeout_s=5.0, gap_timeout_s=5.0)


async def twice(server: Upstream, client: HttpChatModel) -> None:
    """Ask, let the upstream close while the loop is busy, and ask again: its FIN is there, but unread."""
    await client.complete(call())
    if server.ends not in (fin_after_the_request, reset_after_the_request):
        assert server.ended.wait(2)
        time.sleep(0.02)  # noqa: ASYNC251 - the loop must not see what has come
    assert (await client.complete(call())).body == BODY
    assert server.connections == 2


LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


def ask_twice(server: Upstream, scheme: str, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def ask() -> None:
        async with connections(f"{scheme}://localhost:{server.port}/v1") as http:
            await twice(server, HttpChatModel(http, KEY, first_byte_timeout_s=5.0, gap_timeout_s=5.0))

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(ask())


@LOOPS
@pytest.mark.parametrize("ends", [fin, reset, fin_after_the_request, reset_after_the_request, timed_out])
def test_a_stale_connection_costs_nothing(
    server: Upstream, ends: Callable[[socket.socket], None], new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """FIN or RST before the request, right after it, or a 408 that answers nothing: the answer comes all the same."""
    server.ends = ends
    ask_twice(server, "http", new_loop)


@LOOPS
def test_a_stale_connection_over_tls_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """As TLS closes: close_notify."""
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    authority.issue_cert("localhost").configure_cert(context)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    server = Upstream(context)
    server.ends = close_notify
    ask_twice(server, "https", new_loop)
    server.close()


@both
async def test_a_new_connection_that_closes_stays_a_failure(
    server: Upstream, client: HttpChatModel, *, streaming: bool
) -> None:
    """It had been open for this request alone: the upstream may have worked on it."""
    server.first = socket.socket.close
    broken = await failure(client, streaming=streaming)
    assert broken.ambiguous
    assert server.requests == 1


async def test_it_is_sent_again_once(server: Upstream, client: HttpChatModel) -> None:
    """A second close is no stale connection."""
    server.ends = fin_after_the_request
    await client.complete(call())
    server.first = socket.socket.close
    with pytest.raises(UpstreamError) as caught:
        await client.complete(call())
    assert caught.value.ambiguous
    assert server.requests == 2


async def test_a_late_close_is_not_a_stale_connection(
    server: Upstream, client: HttpChatModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upstream may have worked on the request meanwhile, and been paid."""
    monkeypatch.setattr(quick_connection, "STALE_S", 0.02)
    server.ends = reset_after_the_request
    await client.complete(call())
    with pytest.raises(UpstreamError) as caught:
        await client.complete(call())
    assert caught.value.ambiguous
    assert (server.requests, server.connections) == (1, 1)


@pytest.mark.parametrize("hint", [b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 2"])
async def test_a_close_after_a_byte_is_not_a_stale_connection(
    server: Upstream, client: HttpChatModel, hint: bytes
) -> None:
    """The upstream has seen the request."""

    def ends(served: socket.socket) -> None:
        Upstream._read(served)
        served.sendall(hint)
        served.close()

    server.ends = ends
    await client.complete(call())
    with pytest.raises(UpstreamError) as caught:
        await client.complete(call())
    assert caught.value.ambiguous
    assert server.connections == 1


async def test_a_connection_is_too_old_after_a_suspend(
    server: Upstream, client: HttpChatModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time that the machine slept counts: the other side has forgotten the connection."""
    await client.complete(call())
    await client.complete(call())
    assert server.connections == 1
    later = idle_clock() + quick_connection.KEEP_S
    monkeypatch.setattr("shared.quick_http.connection.idle_clock", lambda: later)
    assert (await client.complete(call())).body == BODY
    assert server.connections == 2
