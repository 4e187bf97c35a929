"""Replies that are none of Redis, or belong to another command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from shared.errors import DependencyError
from shared.settings import load_settings
from shared.storage.redis_connection import connect, redis_errors, texts_of
from shared.storage.redis_requests import RedisRequestLog
from tests.support.fakes.clock import FakeClock


def test_texts_are_decoded() -> None:
    """Also those that are not UTF-8."""
    assert texts_of([b"new", b"1.5", b"\xff"]) == ["new", "1.5", "\ufffd"]


@pytest.mark.parametrize("answer", [None, 1, b"OK", "OK", [], [1], [b"new", None], [[b"new"]], {}])
def test_any_other_answer_is_a_failure_of_redis(answer: Any) -> None:
    """A request then goes on as it does without Redis, and is no fault of ours."""
    with pytest.raises(DependencyError, match="cannot be read"):
        texts_of(answer)


@pytest.mark.parametrize("kind", [RedisError, ResponseError, RedisConnectionError, OSError, TimeoutError, ValueError])
def test_no_message_of_redis_is_passed_on(kind: type[Exception]) -> None:
    """It may hold an address, a key or a password."""
    with pytest.raises(DependencyError) as caught, redis_errors():
        raise kind("Error 111 connecting to redis://me:secret@10.0.0.5:6379")
    assert "secret" not in f"{caught.value} {caught.value.reason}"


@asynccontextmanager
async def log_behind(answer: bytes) -> AsyncIterator[RedisRequestLog]:
    """Open a request log whose Redis gives this answer to every command."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(answer * data.count(b"*"))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = connect(load_settings({"REDIS_URL": f"redis://127.0.0.1:{port}/0"}, None))
        try:
            yield RedisRequestLog(client, window_s=60.0, clock=FakeClock())
        finally:
            await client.aclose()
            await client.connection_pool.disconnect()


READS: dict[str, Callable[[RedisRequestLog], Any]] = {
    "a record for its owner": lambda log: log.find(owner="abc", public_id="x"),
    "a record for an admin": lambda log: log.find(owner=None, public_id="x"),
    "the last answer of a session": lambda log: log.last_answer(owner="abc", session="s"),
    "the cost of exploration": lambda log: log.explored_usd(0.0),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"ERROR\r\n", b"*2\r\n:1\r\n:2\r\n", b"*0\r\n"]
)
async def test_a_port_that_is_not_redis_is_a_dependency_that_is_away(
    answer: bytes, read: Callable[[RedisRequestLog], Any]
) -> None:
    """GET /v1/requests gets 503 then, chat goes on without Redis, and neither gets a 500."""
    async with log_behind(answer) as log:
        with pytest.raises(DependencyError):
            await read(log)
