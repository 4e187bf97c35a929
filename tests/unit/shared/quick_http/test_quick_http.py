"""Laws of the small HTTP client: whole answers, however they arrive; nothing of one call is ever seen by another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.quick_http import BadReply, Closed, ConnectTimeout, Incoming, NotConnected, QuickHttp


@asynccontextmanager
async def scripted(
    *answers: bytes, pieces: int = 1_000_000, close: bool = False
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that gives these answers in turn, whatever it is asked, cut into pieces; yields its address."""
    left, asked = list(answers), list[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while left:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                asked.append(head + await reader.readexactly(length))
                answer = left.pop(0)
                for start in range(0, len(answer), pieces):
                    writer.write(answer[start : start + pieces])
                    await writer.drain()
                    await asyncio.sleep(0)
                if close:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()


def whole(body: bytes, more: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\nX-Name: value\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


def chunked(body: bytes, size: int, trailers: bytes = b"") -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    sent = b"".join(b"%x;note=1\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + sent + b"0\r\n" + trailers + b"\r\n"


@settings(max_examples=30, deadline=None)
@given(body=st.binary(max_size=300), size=st.integers(1, 40), pieces=st.integers(1, 50), trailers=st.booleans())
def test_an_answer_is_the_same_however_it_is_cut(body: bytes, size: int, pieces: int, trailers: bool) -> None:
    """By length or in chunks, in one packet or byte by byte, over one connection."""

    async def both() -> None:
        last = b"X-More: 1\r\n" if trailers else b""
        answers = (whole(body), chunked(body, size, last), whole(b"after"))
        async with scripted(*answers, pieces=pieces) as (url, asked), QuickHttp(url) as http:
            for expected in (body, body, b"after"):
                reply = await http.request("POST", "/ask", b"question", {"X-Own": "1"})
                assert (reply.status, reply.body) == (200, expected)
            assert all(one.endswith(b"\r\n\r\nquestion") and b"X-Own: 1" in one for one in asked)

    asyncio.run(both())


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    ],
)
async def test_what_is_not_an_answer_is_an_error(answer: bytes) -> None:
    """And never waited for: nonsense, no length, too much."""
    async with scripted(answer, b"never") as (url, _), QuickHttp(url) as http, asyncio.timeout(5):
        with pytest.raises(BadReply):
            await http.request("POST", "/ask", b"", most=1000)


async def test_a_cut_answer_is_an_error_and_is_not_retried() -> None:
    """Half an answer says that the question arrived."""
    async with scripted(whole(b"0123456789")[:-3], close=True) as (url, asked), QuickHttp(url) as http:
        with pytest.raises(BadReply, match="cut"):
            await http.request("POST", "/ask", b"")
        assert len(asked) == 1


async def test_a_connection_that_was_closed_meanwhile_costs_nothing() -> None:
    """The question goes out again, on a new one."""
    async with scripted(whole(b"one"), whole(b"two"), close=True) as (url, _), QuickHttp(url) as http:
        assert (await http.request("GET", "/")).body == b"one"
        assert (await http.request("GET", "/")).body == b"two"


async def test_a_late_answer_never_reaches_another_call() -> None:
    """A cancelled request closes its connection."""
    async with scripted(b"", whole(b"two")) as (url, _), QuickHttp(url) as http:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await http.request("GET", "/")
        assert (await http.request("GET", "/")).body == b"two"


async def test_within_a_time_or_not_at_all() -> None:
    """Waiting for a free connection counts, too; then nothing has been sent."""
    async with scripted(b"", b"", b"") as (url, asked), QuickHttp(url, limit=1) as http:
        holder = asyncio.create_task(http.open("GET", "/", within_s=0.3))
        await asyncio.sleep(0.05)
        with pytest.raises(ConnectTimeout):
            await http.request("GET", "/", within_s=0.05)
        assert len(asked) == 1
        with pytest.raises(TimeoutError):
            await holder
        with pytest.raises(TimeoutError) as late:
            await http.request("GET", "/", within_s=0.05)
        assert not isinstance(late.value, ConnectTimeout)


async def test_each_call_of_a_connection_has_its_own_time() -> None:
    """Neither the end of an earlier call's time nor a later call's longer one counts for another."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(float(head.split()[1].strip(b"/")))
                writer.write(whole(b"here"))
        except asyncio.IncompleteReadError:
            ended.set()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with QuickHttp(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", limit=1) as http:
        for pause_s, within_s in ((0.0, 0.1), (0.25, 5.0), (0.0, 60.0), (0.1, 1.0)):
            assert (await http.request("GET", f"/{pause_s}", within_s=within_s)).body == b"here"
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            await http.request("GET", "/2", within_s=0.05)
        assert 0.04 < time.monotonic() - started < 1.8
        await ended.wait()
    server.close()


async def test_one_address_gets_no_more_connections_than_the_limit() -> None:
    """The others wait."""
    most = now = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        while await reader.readline() not in (b"\r\n", b""):
            pass
        await asyncio.sleep(0.01)
        now -= 1
        writer.write(whole(b"x", "Connection: close\r\n"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with QuickHttp(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", limit=3) as http:
        replies = await asyncio.gather(*(http.request("GET", "/") for _ in range(12)))
    server.close()
    assert most <= 3
    assert {reply.body for reply in replies} == {b"x"}


async def test_what_the_address_says_is_sent() -> None:
    """A path is a prefix; a name and a password are an authorization."""
    async with scripted(whole(b"x")) as (url, asked), QuickHttp(url.replace("//", "//m%65:p%40ss@") + "/base/") as http:
        await http.request("GET", "/ask")
    assert asked[0].startswith(b"GET /base/ask HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"Authorization: Basic bWU6cEBzcw==\r\n" in asked[0]


# -- answers that are read as they come ------------------------------------------------------------------------------


async def all_of(answer: Incoming) -> bytes:
    parts = []
    while not answer.ended:
        parts.append(await answer.read(5))
    answer.close()
    return b"".join(parts)


@settings(max_examples=20, deadline=None)
@given(body=st.binary(max_size=300), size=st.integers(1, 40), pieces=st.integers(1, 50))
def test_a_body_is_the_same_read_as_it_comes(body: bytes, size: int, pieces: int) -> None:
    """By length, in chunks, or to the end of the connection; and one that ended well is used again."""

    async def all_kinds() -> None:
        to_the_end = b"HTTP/1.1 200 OK\r\n\r\n" + body
        answers = (chunked(body, size), whole(body), to_the_end)
        async with scripted(*answers, pieces=pieces) as (url, asked), QuickHttp(url) as http:
            for _ in answers:
                answer = await http.open("POST", "/ask", b"question")
                assert (answer.status, await all_of(answer)) == (200, body)
            assert len(asked) == 3

    asyncio.run(all_kinds())


async def test_a_streamed_answer_is_not_retried() -> None:
    """A model that is called twice is paid twice: a connection that was closed meanwhile is an error here."""
    async with scripted(whole(b"one"), whole(b"two"), close=True) as (url, asked), QuickHttp(url) as http:
        assert await all_of(await http.open("POST", "/")) == b"one"
        while True:  # until the end of the connection has been heard of, the question goes into nowhere
            try:
                answer = await http.open("POST", "/")
            except Closed:
                assert len(asked) == 1
                continue
            break
        assert await all_of(answer) == b"two"


async def test_a_cut_body_is_an_error_behind_what_has_come() -> None:
    """In the middle of a chunk, or before the last one."""
    for cut in (chunked(b"0123456789", 5)[:-9], chunked(b"01234", 5)[:-5]):
        async with scripted(cut, close=True) as (url, _), QuickHttp(url) as http:
            answer = await http.open("POST", "/")
            with pytest.raises(BadReply, match="cut"):
                await all_of(answer)
            answer.close()


async def test_a_silent_sender_is_waited_for_as_long_as_was_said() -> None:
    """And what he sent before is not lost."""
    async with scripted(chunked(b"01234", 5)[:-5], b"never") as (url, _), QuickHttp(url) as http:
        answer = await http.open("POST", "/")
        assert await answer.read(5) == b"01234"
        with pytest.raises(TimeoutError):
            await answer.read(0.02)
        answer.close()


async def test_a_slow_reader_makes_the_sender_wait() -> None:
    """The rest comes when it reads on."""
    body = bytes(16 * 1024 * 1024)
    async with scripted(whole(body), pieces=65_536) as (url, _), QuickHttp(url) as http:
        answer = await http.open("POST", "/")
        await asyncio.sleep(0.3)
        assert len(await answer.read(5)) < len(body) // 4
        answer.close()


async def test_a_refused_connection_differs_from_a_lost_one(unused_tcp_port: int) -> None:
    """Nothing was sent, so nothing can have been paid."""
    async with QuickHttp(f"http://127.0.0.1:{unused_tcp_port}") as http:
        with pytest.raises(NotConnected):
            await http.open("POST", "/")


async def test_a_header_cannot_bring_another_one() -> None:
    """Nor a second request."""
    async with QuickHttp("http://127.0.0.1:1") as http:
        with pytest.raises(ValueError, match="more than one line"):
            await http.request("GET", "/", headers={"X-Name": "value\r\nX-Other: value"})


async def test_the_query_of_the_address_is_sent_with_each_call() -> None:
    """`?api-version=…` of a base URL goes out behind the path of each call, and beside a query of its own."""
    async with (
        scripted(whole(b"1"), whole(b"2")) as (url, asked),
        QuickHttp(url + "/v1?api-version=2024-10-21") as http,
    ):
        await http.request("POST", "/chat/completions")
        await http.request("GET", "/models?all=1")
    assert [request.split(b" ")[1] for request in asked] == [
        b"/v1/chat/completions?api-version=2024-10-21",
        b"/v1/models?all=1&api-version=2024-10-21",
    ]
