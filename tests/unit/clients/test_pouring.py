"""Laws of pouring a body out: each piece is handed over where it arrives, none is lost, and nobody waits for ever."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.quick_http import BadReply, QuickHttp
from tests.unit.clients.test_quick_http import chunked, scripted, whole


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
