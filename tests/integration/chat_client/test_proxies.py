"""Calls through a proxy: a tunnel for https, whole URLs for http; a refusal by the proxy is not billed."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trustme
import uvloop

from shared.clients.chat_client import HttpChatModel, connections
from shared.errors import Scope, UpstreamError
from shared.quick_http import Proxy
from tests.integration.chat_client.calls import KEY, call, read
from tests.support import raw_upstream as raw
from tests.support.raw_proxy import RawProxy, proxying

BASIC = "Proxy-Authorization: Basic dXNlcjpzZWNyZXQ="


@asynccontextmanager
async def tls_upstream(authority: trustme.CA) -> AsyncIterator[int]:
    """An upstream with a certificate for `models.example`; yields its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("models.example").configure_cert(context)
    script = raw.whole()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                await raw._read_request(reader)
                await script(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())


def model_of(
    url: str, proxy: RawProxy, tls: ssl.SSLContext | None = None
) -> contextlib.AbstractAsyncContextManager[HttpChatModel]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[HttpChatModel]:
        by = Proxy.of_url(f"http://user:secret@127.0.0.1:{proxy.port}")
        async with connections(url, proxy=by, tls=tls) as http:
            yield HttpChatModel(http, KEY, first_byte_timeout_s=2.0, gap_timeout_s=2.0)

    return opened()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_https_goes_by_a_tunnel(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """The proxy is told host and port, and sees neither path nor key; the certificate is the upstream's own.

    The proxy resolves the name, which is unknown here.
    """

    async def ask() -> None:
        authority = trustme.CA()
        async with tls_upstream(authority) as port, proxying(port) as proxy:
            url = f"https://models.example:{port}/api/v1"
            async with model_of(url, proxy, trusting(authority)) as model:
                for _ in range(2):
                    assert (await model.complete(call())).usage
            (head,) = proxy.heads  # two calls, one tunnel
            assert head.startswith(f"CONNECT models.example:{port} HTTP/1.1\r\nHost: models.example:{port}\r\n")
            assert BASIC in head
            assert KEY not in head
            async with model_of(url, proxy, trusting(trustme.CA())) as model:
                with pytest.raises(UpstreamError, match="certificate is not trusted") as caught:
                    await model.complete(call())
                assert not caught.value.spent

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(ask())


async def test_http_goes_with_whole_urls(upstream: raw.RawUpstream) -> None:
    """Streams, too; the upstream is named by Host as ever."""
    upstream.script = raw.streamed(raw.good_events())
    port = int(upstream.url.split(":")[2].split("/")[0])
    async with proxying(port) as proxy, model_of("http://models.example/api/v1?version=2", proxy) as model:
        assert await read(model)
    (head,) = proxy.heads
    assert head.startswith("POST http://models.example/api/v1/chat/completions?version=2 HTTP/1.1\r\n")
    assert "\r\nHost: models.example\r\n" in head
    assert BASIC in head


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "403 Forbidden", "502 Bad Gateway", "503 x"])
@pytest.mark.parametrize("keep", ["connection: close", "proxy-connection: keep-alive"])
async def test_a_proxy_that_refuses_is_no_connection(status: str, keep: str) -> None:
    """Its refusal of a tunnel is never taken for the upstream's: no key is blamed, nothing is booked as paid."""
    refusal = f"HTTP/1.1 {status}\r\n{keep}\r\ncontent-length: 6\r\n\r\nsecret".encode()
    async with proxying(1, refusal) as proxy, model_of("https://models.example/v1", proxy) as model:
        with pytest.raises(UpstreamError, match=rf"the proxy refused it \({status[:3]}\)") as caught:
            await model.complete(call())
    error = caught.value
    assert (error.spent, error.scope, error.status, error.relay) == (False, Scope.ARM, None, None)
    assert error.try_next
    assert "secret" not in str(error)


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 20", b"x" * 70_000])
async def test_a_proxy_that_is_none_is_no_connection(answer: bytes) -> None:
    """What it says is bounded."""
    async with proxying(1, answer) as proxy, model_of("https://models.example/v1", proxy) as model:
        with pytest.raises(UpstreamError, match="no connection") as caught:
            await model.complete(call())
    assert not caught.value.spent


async def test_a_forwarding_proxy_that_wants_a_login_is_no_connection() -> None:
    """407 comes from a proxy alone: the upstream has not been asked."""
    refusal = b"HTTP/1.1 407 x\r\ncontent-length: 0\r\n\r\n"
    async with proxying(1, refusal) as proxy, model_of("http://models.example/v1", proxy) as model:
        for ask in (lambda: model.complete(call()), model.catalogue):
            with pytest.raises(UpstreamError, match=r"the proxy refused it \(407\)") as caught:
                await ask()
            assert not caught.value.spent


async def test_a_proxy_that_is_away_is_no_connection() -> None:
    """And not a failure that was paid. The message says that the proxy is at fault, not the upstream."""
    async with proxying(1) as proxy:
        pass
    for url in ("https://models.example/v1", "http://models.example/v1"):
        async with model_of(url, proxy) as model:
            with pytest.raises(UpstreamError, match=r"no connection .*: the proxy cannot be reached") as caught:
                await model.complete(call())
        assert not caught.value.spent
