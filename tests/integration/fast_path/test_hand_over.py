"""Hand-over to aiohttp: other requests go there with their connection, and get the same responses."""

from __future__ import annotations

import asyncio

import pytest

from shared.fast_path import protocol
from tests.integration.fast_path.rig import LINE, Rig, plain, running

CHUNKED = LINE + b"\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
SMUGGLED = b"0\r\n\r\nPOST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\nbad"


async def without_fast_path(rig: Rig, message: bytes) -> tuple[int, dict[str, str], bytes]:
    async with rig.client(bare=True) as client:
        reply = await client.ask(message)
    return reply.status, {**reply.headers, "date": ""}, reply.body


ODD = {
    "chunked": CHUNKED,
    "the same length twice": plain(b"hello", b"Content-Length: 5"),
    "two lengths": plain(b"hello", b"Content-Length: 3"),
    "length and chunks": plain(SMUGGLED, b"Transfer-Encoding: chunked"),
    "hidden chunks": plain(SMUGGLED, b"Transfer-Encoding : chunked"),
    "folded": plain(b"hello", b"X-A: 1", b" 2"),
    "lower-case method": plain(b"hello").replace(b"POST", b"post"),
    "another method": LINE.replace(b"POST", b"GET") + b"\r\nHost: here\r\n\r\n",
    "another path": plain(b"hello").replace(b"/echo", b"/else"),
    "a query": plain(b"hello").replace(b"/echo", b"/echo?a=1"),
    "HTTP/1.0": plain(b"hello").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "bare line feeds": plain(b"hello").replace(b"\r\n", b"\n"),
    "a huge head": plain(b"hello", *(b"X-%d: " % n + b"a" * 1000 for n in range(9))),
    "a huge line": plain(b"hello", b"X-A: " + b"a" * 20_000),
    "a null": plain(b"hello", b"X-A: \0"),
    "a bare return": plain(b"hello", b"X-A: a\rTransfer-Encoding: chunked"),
    "no host": plain(b"hello").replace(b"Host: here\r\n", b""),
    "two hosts": plain(b"hello", b"Host: there"),
    "no length": LINE + b"\r\nHost: here\r\n\r\n",
    "a signed length": plain(b"hello").replace(b": 5", b": +5"),
    "closing": plain(b"hello", b"Connection: close"),
    "an empty line before": b"\r\n" + plain(b"hello"),
    "packed": plain(b"not gzip", b"Content-Encoding: gzip"),
    "upgrade": plain(b"hello", b"Connection: Upgrade", b"Upgrade: websocket"),
    "too large": plain(b"x" * 200_000),
    "not HTTP": b"\x16\x03\x01\x02\x00\r\n\r\n",
}


@pytest.mark.parametrize("message", ODD.values(), ids=ODD.keys())
async def test_odd_requests_are_answered_as_aiohttp_does(message: bytes) -> None:
    """Byte for byte the same, alone and behind a plain one; the fast path's handler never sees them."""
    async with running() as rig:
        expected = await without_fast_path(rig, message)
        for before in (b"", plain(b"before")):
            async with rig.client() as client:
                if before:
                    assert (await client.ask(before)).by == "fast path"
                reply = await client.ask(message)
                assert (reply.status, {**reply.headers, "date": ""}, reply.body) == expected
        assert rig.begun == [b"before"]


async def test_a_connection_stays_aiohttps_where_only_aiohttp_knows_the_end_of_a_request() -> None:
    """Plain requests on it, and behind the odd one in the same piece, too."""
    async with running() as rig, rig.client() as client:
        await client.send(plain(b"first") + CHUNKED + plain(b"behind"))
        assert [((await client.reply()).by) for _ in range(3)] == ["fast path", "aiohttp", "aiohttp"]
        reply = await client.ask(plain(b"later"))
        assert (reply.by, reply.body) == ("aiohttp", b"later")
        assert rig.begun == [b"first"]


GET = b"GET /other HTTP/1.1\r\nHost: here\r\n\r\n"
POST = plain(b"hello").replace(b"/echo", b"/other")
LARGE_POST = plain(b"y" * 90_000).replace(b"/echo", b"/other")


@pytest.mark.parametrize("other", [GET, POST, LARGE_POST, GET + POST + GET], ids=["GET", "POST", "large", "several"])
async def test_a_connection_comes_back_after_aiohttp_has_answered(other: bytes) -> None:
    """Again and again; the server always counts one connection, and lets it finish its last request when it stops."""
    async with running(keep_s=0.3) as rig, rig.client() as client:
        server = rig.runner.server
        assert server is not None
        for number in range(3):
            await client.send(other)
            for _ in range(other.count(b"HTTP/1.1")):
                assert (await client.reply()).by == "aiohttp"
            await asyncio.sleep(0.01)
            reply = await client.ask(plain(b"%d" % number))
            assert (reply.by, reply.body) == ("fast path", b"%d" % number)
            assert len(server.connections) == 1
        await client.send(plain(b"wait"))
        await asyncio.sleep(0.4)  # aiohttp's own idle deadline must not close it
        stopping = asyncio.create_task(rig.runner.cleanup())
        await asyncio.sleep(0.05)
        rig.gate.set()
        reply = await client.reply()
        assert (reply.by, reply.headers["connection"]) == ("fast path", "close")
        await stopping


async def test_an_idle_connection_that_came_back_is_closed_in_time() -> None:
    """By the fast path's deadline."""
    async with running(keep_s=0.2) as rig, rig.client() as client:
        await client.ask(GET)
        await asyncio.sleep(0.01)
        assert (await client.ask(plain(b"x"))).by == "fast path"
        assert await client.closed(within_s=1)


@pytest.mark.parametrize("cut", [1, 3, 20, len(POST) - 3])
async def test_a_connection_does_not_come_back_in_the_middle_of_a_request(cut: int) -> None:
    """The rest of a request may look like another: a body that holds one must not be answered as one."""
    body = plain(b"smuggled")
    outer = plain(body).replace(b"/echo", b"/other", 1)
    async with running() as rig, rig.client() as client:
        await client.send(GET + outer[: -len(body)])  # its head has come behind a whole request
        assert (await client.reply()).by == "aiohttp"
        await asyncio.sleep(0.02)
        reply = await client.ask(body)
        assert (reply.by, reply.body) == ("aiohttp", body)
        await client.send(GET + POST[:cut])
        assert (await client.reply()).by == "aiohttp"
        await asyncio.sleep(0.02)
        assert (await client.ask(POST[cut:])).by == "aiohttp"
        assert rig.begun == []


async def test_a_request_while_aiohttp_answers_waits_for_its_turn() -> None:
    """Answers keep the order of their requests."""
    async with running() as rig, rig.client() as client:
        await client.send(GET)
        await client.send(plain(b"second"))
        assert [(await client.reply()).body for _ in range(2)] == [b"", b"second"]


async def test_expect_100_continue_is_answered() -> None:
    """`Expect: 100-continue`: the body comes only then."""
    message = plain(b"hello", b"Expect: 100-continue")
    async with running() as rig, rig.client() as client:
        await client.send(message[:-5])
        assert (await client.reply()).status == 100
        reply = await client.ask(message[-5:])
        assert (reply.by, reply.body) == ("aiohttp", b"hello")


@pytest.mark.parametrize("first", [b"", plain(b"x")[:10], plain(b"x")[:40], plain(b"hello")[:-2]])
async def test_who_is_slow_is_aiohttps(monkeypatch: pytest.MonkeyPatch, first: bytes) -> None:
    """Silent from the start, in the head, in the body: its deadlines hold, and the rest is not lost.

    A request that comes at last in one piece to a silent connection is plain again.
    """
    monkeypatch.setattr(protocol, "ARRIVAL_S", 0.05)
    async with running() as rig, rig.client() as client:
        if first:
            await client.send(first)
        await asyncio.sleep(0.2)
        message = plain(b"hello") if first.endswith(b"hel") else plain(b"x")
        reply = await client.ask(message[len(first) :])
        assert (reply.status, reply.by) == (200, "aiohttp" if first else "fast path")


async def test_a_handed_over_connection_is_drained_by_aiohttp(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server knows it as its own."""
    monkeypatch.setattr(protocol, "ARRIVAL_S", 0.05)
    async with running() as rig, rig.client() as client:
        await asyncio.sleep(0.2)
        await rig.runner.cleanup()
        assert await client.closed()
