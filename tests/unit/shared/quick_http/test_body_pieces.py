"""Laws of reading a body in pieces: each is handed over when it arrives, none is lost, and no reader waits for ever."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.quick_http import BadReply, QuickHttp
from shared.quick_http.connection import Connection
from tests.unit.shared.quick_http.test_quick_http import chunked, scripted, whole


@settings(max_examples=30, deadline=None)
@given(
    body=st.binary(max_size=300), size=st.integers(1, 40), pieces=st.integers(1, 50), whole_body=st.booleans(),
    patience=st.integers(1, 5),
)  # fmt: skip
def test_what_is_poured_is_what_came(body: bytes, size: int, pieces: int, whole_body: bool, patience: int) -> None:
    """However it is cut, and however often the taker wants no more for a while."""

    async def pour() -> None:
        taken: list[bytes] = []

        def take(piece: bytes) -> bool:
            assert piece
            taken.append(piece)
            return len(taken) % patience != 0

        answer_of = whole(body) if whole_body else chunked(body, size)
        async with scripted(answer_of, whole(b"after"), pieces=pieces) as (url, _), QuickHttp(url) as http:
            answer = await http.open("POST", "/")
            while not answer.ended:
                await answer.pour(take, lambda: 5.0)
            answer.close()
            assert b"".join(taken) == body
            assert (await http.request("GET", "/")).body == b"after"

    asyncio.run(pour())


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Return a body and its chunks as they come: one in two pieces, two together, the first perhaps with the head."""
    chunks = draw(st.lists(st.binary(min_size=1, max_size=40) | st.just(b"3\r\nabc"), max_size=8))
    size = draw(st.sampled_from([b"%x", b"%X"]))
    come = [size % len(chunk) + b"\r\n" + chunk + b"\r\n" for chunk in chunks] + [b"0\r\n\r\n"]
    cut, at = draw(st.integers(0, len(chunks))), draw(st.integers(-3, 5))
    come[cut : cut + 1] = [piece for piece in (come[cut][:at], come[cut][at:]) if piece]
    joined = draw(st.integers(0, 20))
    come[joined : joined + 2] = [b"".join(come[joined : joined + 2])] if joined < len(come) else []
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return b"".join(chunks), [head + come.pop(0) if draw(st.booleans()) else head, *come]


@settings(max_examples=300, deadline=None)
@given(arrived=arrivals(), patience=st.integers(1, 4))
def test_chunks_that_come_one_by_one(arrived: tuple[bytes, list[bytes]], patience: int) -> None:
    """They are handed over unchanged, and a reader that wants no more is woken."""
    body, (first, *come) = arrived
    taken: list[bytes] = []

    def take(piece: bytes) -> bool:
        taken.append(piece)
        return len(taken) % patience != 0

    async def pour(connection: Connection) -> None:
        while not connection.ended:
            await connection.pour(take, lambda: 5.0)

    async def play() -> None:
        connection = Connection()
        connection.connection_made(Mock(spec=asyncio.Transport, is_closing=lambda: False))
        connection.send(b"")
        opening = asyncio.ensure_future(connection.head(None))
        await asyncio.sleep(0)
        connection.data_received(first)
        await opening
        pouring = asyncio.ensure_future(pour(connection))
        for piece in come:
            await asyncio.sleep(0)
            connection.data_received(piece)
        async with asyncio.timeout(1):
            await pouring
        assert connection.usable

    asyncio.run(play())
    assert all(taken)
    assert b"".join(taken) == body


async def test_a_taker_is_given_what_came_before_it_and_waits_no_longer_than_it_says() -> None:
    """Each piece may give the next one more time."""
    left = [0.3, 0.2]
    async with scripted(chunked(b"01234", 5)[:-5], b"never") as (url, _), QuickHttp(url) as http:
        answer, taken = await http.open("POST", "/"), list[bytes]()

        def take(piece: bytes) -> bool:
            taken.append(piece)
            return True

        async with asyncio.timeout(5):
            with pytest.raises(TimeoutError):
                await answer.pour(take, lambda: left.pop() if left else 0.0)
        assert (taken, left) == ([b"01234"], [])
        answer.close()


async def test_a_cut_body_is_poured_to_the_cut() -> None:
    """Then it is an error."""
    async with scripted(whole(b"0123456789")[:-3], close=True) as (url, _), QuickHttp(url) as http:
        answer, taken = await http.open("POST", "/"), bytearray()

        def take(piece: bytes) -> bool:
            taken.extend(piece)
            return True

        with pytest.raises(BadReply, match="cut"):
            await answer.pour(take, lambda: 5.0)
        assert taken == b"0123456"
        answer.close()
