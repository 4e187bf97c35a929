"""`HttpEmbedder` against an embedder that is slow, away or lying: always DependencyError, never a bad vector."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from deploy.local.servers import free_port
from shared.clients.embedder_client import HttpEmbedder
from shared.errors import DependencyError
from shared.quick_http import QuickHttp
from shared.schemas.storage import EmbeddingModel

GOOD = np.array([[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]], dtype="<f4")
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def vectors(
    body: bytes = GOOD.tobytes(), *, model: str | None = "m-3", dimension: str | None = "3", status: int = 200
) -> web.Response:
    headers = {"x-embedding-model": model, "x-embedding-dimension": dimension}
    return web.Response(body=body, status=status, headers={k: v for k, v in headers.items() if v is not None})


@contextlib.asynccontextmanager
async def client_of(embed: Answer, health: Answer | None = None, timeout_s: float = 1.0) -> AsyncIterator[HttpEmbedder]:
    async def healthy(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "model": "m-3", "dimension": 3})

    app = web.Application()
    app.add_routes([web.post("/embed", embed), web.get("/health", health or healthy)])
    async with TestServer(app) as server, QuickHttp(str(server.make_url("/"))) as http:
        yield HttpEmbedder(http, timeout_s)


def always(answer: Callable[[], web.Response]) -> Answer:
    async def handler(_request: web.Request) -> web.Response:
        return answer()

    return handler


async def test_a_good_answer_is_returned_as_it_is() -> None:
    """Row by row."""
    async with client_of(always(vectors)) as client:
        np.testing.assert_array_equal(await client.embed(["a", "b"]), GOOD)


async def test_all_calls_share_a_connection() -> None:
    """Its health and texts: nothing closes a connection between them."""
    peers = []

    async def noting(request: web.Request) -> web.Response:
        peers.append(request.transport.get_extra_info("peername") if request.transport else None)
        return vectors() if request.method == "POST" else web.json_response({"model": "m-3", "dimension": 3})

    async with client_of(noting, noting) as client:
        await client.model()
        for _ in range(2):
            await client.embed(["a", "b"])
    assert len(peers) == 3
    assert len(set(peers)) == 1


def changed(row: int, column: int, value: float) -> bytes:
    rows = GOOD.copy()
    rows[row, column] = value
    return rows.tobytes()


LIES: dict[str, Callable[[], web.Response]] = {
    "NaN": lambda: vectors(changed(1, 0, np.nan)),
    "infinite": lambda: vectors(changed(0, 0, np.inf)),
    "not of norm 1": lambda: vectors(changed(0, 0, 0.9)),
    "zero": lambda: vectors(np.zeros_like(GOOD).tobytes()),
    "a row too few": lambda: vectors(GOOD[:1].tobytes()),
    "half a float": lambda: vectors(GOOD.tobytes()[:-2]),
    "empty": lambda: vectors(b""),
    "another dimension than it says": lambda: vectors(dimension="2"),
    "no dimension": lambda: vectors(dimension=None),
    "dimension zero": lambda: vectors(dimension="0"),
    "dimension below zero": lambda: vectors(dimension="-3"),
    "dimension in words": lambda: vectors(dimension="three"),
    "enormous dimension": lambda: vectors(dimension="1000000000"),
    "no model": lambda: vectors(model=None),
    "HTML": lambda: web.Response(text="<html>"),
    "enormous": lambda: vectors(b"\0" * 1_000_000),
    "503": lambda: vectors(status=503),
    "500": lambda: vectors(status=500),
    "204": lambda: vectors(b"", status=204),
    "redirect": lambda: web.Response(status=307, headers={"Location": "http://127.0.0.1:1/embed"}),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_bad_answer_is_a_dependency_error(lie: str) -> None:
    """Nothing that is not a unit vector of the agreed model comes through, and the next call is fine."""
    answers = [LIES[lie](), vectors()]
    async with client_of(always(lambda: answers.pop(0))) as client:
        with pytest.raises(DependencyError) as error:
            await client.embed(["secret a", "secret b"])
        assert error.value.dependency == "embedder"
        assert "secret" not in str(error.value)
        np.testing.assert_array_equal(await client.embed(["a", "b"]), GOOD)


async def test_an_endless_answer_is_not_read() -> None:
    """However it is sent."""

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"x-embedding-model": "m-3", "x-embedding-dimension": "3"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionResetError):
            while True:
                await response.write(b"\0" * 65_536)
                await asyncio.sleep(0)
        return response

    async with client_of(endless) as client, asyncio.timeout(3):
        with pytest.raises(DependencyError, match="BadReply"):
            await client.embed(["a"])


@pytest.mark.parametrize("part", ["headers", "body"])
async def test_a_slow_answer_ends_at_the_deadline(part: str) -> None:
    """Whether the answer does not begin or does not end."""

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"x-embedding-model": "m-3", "x-embedding-dimension": "3", "Content-Length": "24"}
        )
        if part == "body":
            await response.prepare(request)
            await response.write(GOOD.tobytes()[:8])
        await asyncio.sleep(5)
        return response

    async with client_of(slow, timeout_s=0.1) as client:
        started = time.monotonic()
        with pytest.raises(DependencyError, match="100 ms"):
            await client.embed(["a", "b"])
        assert time.monotonic() - started < 1


async def test_a_port_without_a_listener_is_a_dependency_error() -> None:
    """As it is while the embedder starts."""
    async with QuickHttp(f"http://127.0.0.1:{free_port()}") as http:
        client = HttpEmbedder(http, 1.0)
        for call in (client.model(), client.embed(["a"]), client.embed([])):
            with pytest.raises(DependencyError):
                await call


async def test_a_kept_connection_that_was_closed_meanwhile_costs_nothing() -> None:
    """One stale connection is not an outage: the question is asked again on a new one."""
    asked = 0

    async def closes_first(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        if asked == 1:
            assert request.transport is not None
            request.transport.abort()
            await asyncio.sleep(1)
        return vectors()

    async with client_of(closes_first) as client:
        np.testing.assert_array_equal(await client.embed(["a", "b"]), GOOD)
    assert asked == 2


async def test_a_text_that_is_not_unicode_is_refused_here() -> None:
    """Half a surrogate pair cannot be sent."""
    async with client_of(always(vectors)) as client:
        with pytest.raises(DependencyError, match="Unicode"):
            await client.embed(["\ud800"])


# -- which model -------------------------------------------------------------------------------------------------------


async def test_the_model_is_requested_once() -> None:
    """The hot path does not pay for it."""
    asked = 0

    async def health(_request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.json_response({"model": "m-3", "dimension": 3})

    async with client_of(always(vectors), health) as client:
        for _ in range(5):
            assert await client.model() == EmbeddingModel("m-3", 3)
            await client.embed(["a", "b"])
    assert asked == 1


async def test_another_models_vectors_are_refused_until_the_model_is_requested_again() -> None:
    """A caller that keeps an index by model learns of the change before it gets a vector of the new model."""
    name = "m-3"

    async def health(_request: web.Request) -> web.Response:
        return web.json_response({"model": name, "dimension": 3})

    async with client_of(always(lambda: vectors(model=name)), health) as client:
        await client.model()
        await client.embed(["a", "b"])
        name = "other-3"
        for _ in range(3):
            with pytest.raises(DependencyError, match="other-3"):
                await client.embed(["a", "b"])
        assert await client.model() == EmbeddingModel("other-3", 3)
        np.testing.assert_array_equal(await client.embed(["a", "b"]), GOOD)


@pytest.mark.parametrize(
    "report",
    [
        b"",
        b"[]",
        b"{}",
        b'{"model": "", "dimension": 3}',
        b'{"model": "m", "dimension": "3"}',
        b'{"model": 1, "dimension": 3}',
        b'{"model": "m", "dimension": 0}',
        b'{"model": "m", "dimension": 1e9}',
        b"<html>",
        b"0" * 100_000,
    ],
    ids=range(10),
)
async def test_a_health_report_that_names_no_model_is_a_dependency_error(report: bytes) -> None:
    """And is asked for again."""
    answers = [web.Response(body=report), web.json_response({"model": "m-3", "dimension": 3})]
    async with client_of(always(vectors), always(lambda: answers.pop(0))) as client:
        with pytest.raises(DependencyError):
            await client.model()
        assert await client.model() == EmbeddingModel("m-3", 3)


async def test_the_embedder_gets_our_deadline() -> None:
    """Milliseconds that are left, so that it can refuse what would come too late; less of them on the second try."""
    told: list[int] = []

    async def answer(request: web.Request) -> web.Response:
        told.append(int(request.headers["x-deadline-ms"]))
        if len(told) == 1:
            await asyncio.sleep(0.05)
            assert request.transport is not None
            request.transport.abort()
        return vectors()

    async with client_of(answer, timeout_s=0.8) as client:
        await client.embed(["a", "b"])
    first, second = told
    assert 700 <= first <= 800
    assert second <= first - 40
