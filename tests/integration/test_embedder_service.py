"""The embedder over HTTP: formats, errors in OpenAI's shape, shedding, cancelled callers, start and stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import numpy as np
import orjson
import pytest

from services.embedder.encoder import STATIC
from tests.support.batching import until
from tests.support.embedder_rig import real_encoder, running_embedder
from tests.support.encoders import GatedEncoder, row_of

JSON = {"Content-Type": "application/json"}
RAW = {"Accept": "application/octet-stream"}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def until_queued(session: aiohttp.ClientSession, url: str, expected: int) -> None:
    """Wait until so many texts wait."""

    async def queued() -> int:
        async with session.get(f"{url}/health") as response:
            return int((await response.json())["queued"])

    async with asyncio.timeout(5):
        while await queued() != expected:  # noqa: ASYNC110 - what is awaited happens beyond HTTP
            await asyncio.sleep(0.01)


@pytest.fixture
async def embedder() -> AsyncIterator[str]:
    async with running_embedder(
        real_encoder(STATIC), EMBED_QUEUE_LIMIT=100, MAX_BODY_BYTES=200_000, EMBED_MAX_CHARS=4000
    ) as url:
        yield url


async def test_both_formats_carry_the_same_vectors(embedder: str, session: aiohttp.ClientSession) -> None:
    """JSON by default; raw little-endian float32 with the model in headers, by Accept."""
    question = {"texts": ["hello world", ""]}
    async with session.post(f"{embedder}/embed", json=question) as response:
        assert response.status == 200
        answer = await response.json()
    async with session.post(f"{embedder}/embed", json=question, headers=RAW) as response:
        assert response.content_type == "application/octet-stream"
        assert response.headers["x-embedding-model"] == answer["model"] == real_encoder(STATIC).model.id
        assert int(response.headers["x-embedding-dimension"]) == answer["dimension"]
        raw = np.frombuffer(await response.read(), dtype="<f4").reshape(2, answer["dimension"])
    np.testing.assert_allclose(raw, answer["vectors"], atol=1e-7)


async def test_only_the_first_characters_of_a_long_text_count(embedder: str, session: aiohttp.ClientSession) -> None:
    """EMBED_MAX_CHARS bounds what a prompt may cost."""
    start = "plans for a garden shed " * 200
    question = {"texts": [start[:4000], start[:4000] + " and a nuclear submarine" * 100]}
    async with session.post(f"{embedder}/embed", json=question) as response:
        first, second = (await response.json())["vectors"]
    assert first == second


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b'{"texts": ["a"', 400, "invalid_json"),
        (b"\xff\xfe", 400, "invalid_json"),
        (b'{"texts": ["\\ud800"]}', 400, "invalid_json"),
        (b'{"texts": ' + b"[" * 100_000, 400, "invalid_json"),
        (b'{"texts": [NaN]}', 400, "invalid_json"),
        (b"[]", 400, "invalid_value"),
        (b"null", 400, "invalid_value"),
        (b"{}", 400, "invalid_value"),
        (b'{"texts": []}', 400, "invalid_value"),
        (b'{"texts": "a"}', 400, "invalid_value"),
        (b'{"texts": ["a", 1]}', 400, "invalid_value"),
        (b'{"texts": [null]}', 400, "invalid_value"),
        (b'{"texts": ["a"], "model": "b"}', 400, "invalid_value"),
        (orjson.dumps({"texts": ["a"] * 101}), 413, "too_many_texts"),
        (orjson.dumps({"texts": ["a" * 300_000]}), 413, "body_too_large"),
    ],
    ids=range(16),
)
async def test_bad_input_is_refused_in_openais_shape(
    embedder: str, session: aiohttp.ClientSession, body: bytes, status: int, code: str
) -> None:
    """The right status, and the next request is served."""
    async with session.post(f"{embedder}/embed", data=body, headers=JSON) as response:
        error = (await response.json())["error"]
        assert (response.status, error["code"]) == (status, code)
        assert set(error) == {"message", "type", "param", "code"}
        assert error["type"] == "invalid_request_error"
    async with session.post(f"{embedder}/embed", json={"texts": ["next"]}) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"texts": ["hello world"]}', {}),
        (b'{"texts": ["hello world"]}', RAW),
        (b'{"texts": ["hello world"]}', {"x-deadline-ms": "2000", "Content-Type": "Application/JSON; charset=utf-8"}),
        (b'{"texts": ["hello world"]}', {"Content-Type": "text/plain"}),
        (b'{"texts": ["hello world"', {}),
        (b'{"texts": [1]}', {}),
        (orjson.dumps({"texts": ["a"] * 101}), {}),
    ],
    ids=range(7),
)
async def test_the_fast_path_answers_as_aiohttp_does(
    embedder: str, session: aiohttp.ClientSession, body: bytes, headers: dict[str, str]
) -> None:
    """The same request, plain and in chunks: the same status, body and headers, except for the server's name."""

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    async def ask(sent: object) -> tuple[int, bytes, dict[str, str]]:
        async with session.post(f"{embedder}/embed", data=sent, headers={**JSON, **headers}) as response:
            said = {name.lower(): value for name, value in response.headers.items()}
            return response.status, await response.read(), said

    plain, chunked = await ask(body), await ask(pieces())
    assert plain[:2] == chunked[:2]
    assert "server" in chunked[2], "aiohttp did not serve it"
    assert "server" not in plain[2], "the fast path did not serve it"
    by_aiohttp = {"server", "connection", "date"}
    assert {name: value for name, value in chunked[2].items() if name not in by_aiohttp} == {
        name: value for name, value in plain[2].items() if name != "date"
    }


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({**JSON, "Content-Encoding": "gzip"}, 400),
    ],
    ids=["text", "multipart", "broken gzip"],
)
async def test_what_is_not_json_is_refused(
    embedder: str, session: aiohttp.ClientSession, headers: dict[str, str], status: int
) -> None:
    """By its type, or because it cannot be unpacked."""
    async with session.post(
        f"{embedder}/embed", data=b'{"texts": ["a"]}', headers=headers, skip_auto_headers=["Accept-Encoding"]
    ) as response:
        assert response.status == status
        assert (await response.json())["error"]["message"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("GET", "/embed", 405)])
async def test_wrong_paths_and_methods_have_the_same_shape(
    embedder: str, session: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    """Nothing answers in plain text."""
    async with session.request(method, embedder + path) as response:
        assert response.status == status
        assert "error" in await response.json()
        if status == 405:
            assert response.headers["Allow"] == "POST"


async def test_health_ready_and_metrics(embedder: str, session: aiohttp.ClientSession) -> None:
    """Which model answers, that it may be asked, and what it has done: two texts, one of them twice."""
    for _ in range(2):
        async with session.post(f"{embedder}/embed", json={"texts": ["one", "two"]}) as response:
            await response.read()
    async with session.get(f"{embedder}/health") as response:
        model, report = real_encoder(STATIC).model, await response.json()
        assert report.pop("background")["batches"]["restarts"] == 0
        assert report == {
            "status": "ok", "model": model.id, "dimension": model.dimension, "queued": 0, "trouble": [],
        }  # fmt: skip
    async with session.get(f"{embedder}/ready") as response:
        assert response.status == 200
    async with session.get(f"{embedder}/metrics") as response:
        text = await response.text()
    assert 'llm_router_embedder_texts_total{source="model"} 2.0' in text
    assert 'llm_router_embedder_texts_total{source="cache"} 2.0' in text
    assert "llm_router_embedder_queued_texts 0.0" in text


async def test_a_full_queue_returns_503_immediately_and_serves_waiting_callers(session: aiohttp.ClientSession) -> None:
    """Shedding takes milliseconds while the model is stuck, says when to come back, and is counted."""
    encoder = GatedEncoder()
    encoder.gate.clear()
    async with running_embedder(encoder, EMBED_QUEUE_LIMIT=2, EMBED_BATCH_SIZE=1) as url:

        async def ask(text: str) -> tuple[int, float, bytes, str | None]:
            started = time.monotonic()
            async with session.post(f"{url}/embed", json={"texts": [text]}, headers=RAW) as response:
                body = await response.read()
                return response.status, time.monotonic() - started, body, response.headers.get("Retry-After")

        waiting = [asyncio.create_task(ask("held"))]
        await until(lambda: "held" in encoder.seen)
        waiting += [asyncio.create_task(ask(text)) for text in ("first", "second")]
        await until_queued(session, url, 2)
        shed = [await ask(f"too much {n}") for n in range(10)]
        assert {answer[0] for answer in shed} == {503}
        assert all(answer[3] for answer in shed)
        assert sorted(answer[1] for answer in shed)[5] < 0.02
        assert orjson.loads(shed[0][2])["error"]["code"] == "overloaded"
        encoder.gate.set()
        for text, answer in zip(("held", "first", "second"), await asyncio.gather(*waiting), strict=True):
            assert answer[0] == 200
            np.testing.assert_array_equal(np.frombuffer(answer[2], dtype="<f4"), row_of(text))
        async with session.get(f"{url}/metrics") as response:
            assert "llm_router_embedder_refused_total 10.0" in await response.text()


async def test_callers_that_hang_up_free_the_queue(session: aiohttp.ClientSession) -> None:
    """A caller past its deadline closes its connection; its text is never encoded, its neighbours are served."""
    encoder = GatedEncoder()
    encoder.gate.clear()
    async with running_embedder(encoder, EMBED_QUEUE_LIMIT=50, EMBED_BATCH_SIZE=4) as url:

        async def ask(text: str) -> int:
            async with session.post(f"{url}/embed", json={"texts": [text]}, headers=RAW) as response:
                await response.read()
                return response.status

        held = asyncio.create_task(ask("held"))
        await until(lambda: "held" in encoder.seen)
        stay = [asyncio.create_task(ask(f"stays {n}")) for n in range(5)]
        leave = [asyncio.create_task(ask(f"leaves {n}")) for n in range(20)]
        await until_queued(session, url, 25)
        for task in leave:
            task.cancel()
        await asyncio.gather(*leave, return_exceptions=True)
        await until_queued(session, url, 5)
        encoder.gate.set()
        assert await asyncio.gather(held, *stay) == [200] * 6
    assert not [text for text in encoder.seen if text.startswith("leaves")]


async def test_a_broken_pass_is_a_500_for_its_callers_and_the_service_goes_on(session: aiohttp.ClientSession) -> None:
    """The message says nothing of the text; the next caller is served."""
    async with running_embedder(GatedEncoder()) as url:
        async with session.post(f"{url}/embed", json={"texts": ["explode"]}) as response:
            assert response.status == 500
            assert "explode" not in await response.text()
        async with session.post(f"{url}/embed", json={"texts": ["fine"]}) as response:
            assert response.status == 200


async def test_stopping_answers_what_is_open(session: aiohttp.ClientSession) -> None:
    """A request that was accepted before the end is served, though the listener is closed."""
    encoder = GatedEncoder()
    encoder.gate.clear()
    async with running_embedder(encoder) as url:

        async def ask(text: str) -> int:
            async with session.post(f"{url}/embed", json={"texts": [text]}) as response:
                return response.status

        asked = [asyncio.create_task(ask("in the pass"))]
        await until(lambda: bool(encoder.seen))
        asked.append(asyncio.create_task(ask("in the queue")))
        await until_queued(session, url, 1)
        asyncio.get_running_loop().call_later(0.2, encoder.gate.set)
    assert await asyncio.gather(*asked) == [200, 200]
