"""TLS of the small HTTP client: the upstream proves its identity, or nothing is sent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
import uvloop

from shared.quick_http import NotConnected, QuickHttp

ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


@asynccontextmanager
async def upstream(authority: trustme.CA, name: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A TLS server with a certificate for `name`; yields its address and the heads that it has read."""
    asked = list[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(ANSWER)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """An authority that this machine trusts while the test runs."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    return authority


async def ask_twice(authority: trustme.CA) -> None:
    """Ask once for a whole answer and once piece by piece, over one connection."""
    async with upstream(authority, "localhost") as (address, asked), QuickHttp(address, limit=1) as http:
        assert (await http.request("GET", "/models")).body == b"onetwo"
        answer = await http.open("POST", "/chat", b"{}")
        body = b""
        while not answer.ended:
            body += await answer.read(5)
        answer.close()
        assert body == b"onetwo"
        assert len(asked) == 2


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_answers_come_over_tls(authority: trustme.CA, new_loop: object) -> None:
    """Whole and streamed answers are read over TLS, on either event loop."""
    with asyncio.Runner(loop_factory=new_loop) as runner:  # type: ignore[arg-type]
        runner.run(ask_twice(authority))


async def test_a_certificate_of_another_name_is_refused(authority: trustme.CA) -> None:
    """A server that shows a certificate for another host gets no request, and so no key."""
    async with upstream(authority, "other.example") as (address, asked), QuickHttp(address) as http:
        with pytest.raises(NotConnected):
            await http.open("POST", "/chat", b"{}", {"Authorization": "Bearer secret"})
    assert asked == []


@pytest.mark.usefixtures("authority")
async def test_an_untrusted_authority_is_refused() -> None:
    """A certificate that no trusted authority has signed gets no request."""
    async with upstream(trustme.CA(), "localhost") as (address, asked), QuickHttp(address) as http:
        with pytest.raises(NotConnected):
            await http.open("POST", "/chat", b"{}")
    assert asked == []
