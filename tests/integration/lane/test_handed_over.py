"""What is not plain goes to aiohttp, with the connection, and is answered as if there were no lane."""

from __future__ import annotations

import asyncio

import pytest

from shared.quick_http import fast_path as lane
from tests.integration.lane.rig import LINE, Rig, plain, running

CHUNKED = LINE + b"\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
SMUGGLED = b"0\r\n\r\nPOST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\nbad"


async def without_lane(rig: Rig, message: bytes) -> tuple[int, dict[str, str], bytes]:
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
    """Byte for byte the same, alone and behind a plain one; the lane's handler never sees them."""
    async with running() as rig:
        expected = await without_lane(rig, message)
        for before in (b"", plain(b"before")):
            async with rig.client() as client:
                if before:
                    assert (await client.ask(before)).by == "lane"
                reply = await client.ask(message)
                assert (reply.status, {**reply.headers, "date": ""}, reply.body) == expected
        assert rig.begun == [b"before"]


async def test_a_connection_that_was_handed_over_stays_aiohttps() -> None:
    """Plain requests on it, and behind the odd one in the same piece, too."""
    async with running() as rig, rig.client() as client:
        await client.send(plain(b"first") + CHUNKED + plain(b"behind"))
        assert [((await client.reply()).by) for _ in range(3)] == ["lane", "aiohttp", "aiohttp"]
        reply = await client.ask(plain(b"later"))
        assert (reply.by, reply.body) == ("aiohttp", b"later")
        assert rig.begun == [b"first"]


async def test_who_asks_whether_to_go_on_is_told() -> None:
    """`Expect: 100-continue`: the body comes only then."""
    message = plain(b"hello", b"Expect: 100-continue")
    async with running() as rig, rig.client() as client:
        await client.send(message[:-5])
        assert (await client.reply()).status == 100
        reply = await client.ask(message[-5:])
        assert (reply.by, reply.body) == ("aiohttp", b"hello")


@pytest.mark.parametrize("first", [b"", plain(b"x")[:10], plain(b"x")[:40], plain(b"hello")[:-2]])
async def test_who_is_slow_is_aiohttps(monkeypatch: pytest.MonkeyPatch, first: bytes) -> None:
    """Silent from the start, in the head, in the body: its deadlines hold, and the rest is not lost."""
    monkeypatch.setattr(lane, "PATIENCE_S", 0.05)
    async with running() as rig, rig.client() as client:
        if first:
            await client.send(first)
        await asyncio.sleep(0.2)
        message = plain(b"hello") if first.endswith(b"hel") else plain(b"x")
        reply = await client.ask(message[len(first) :])
        assert (reply.status, reply.by) == (200, "aiohttp")


async def test_a_handed_over_connection_is_drained_by_aiohttp(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server knows it as its own."""
    monkeypatch.setattr(lane, "PATIENCE_S", 0.05)
    async with running() as rig, rig.client() as client:
        await asyncio.sleep(0.2)
        await rig.runner.cleanup()
        assert await client.closed()
