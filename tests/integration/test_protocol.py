"""The hardened server: caps, deadlines for readers, draining, and what happens when a client leaves."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from deploy.local.servers import free_port
from services.gateway.http.app_keys import BODY_BYTES, REQUEST_CONTEXT, REQUEST_LIFECYCLE
from services.gateway.http.middlewares import build_middleware
from services.gateway.http.request_body import read_body
from services.gateway.http.request_lifecycle import RequestLifecycle
from services.gateway.http.server import serve
from services.gateway.limits.admission import Admission, BodyBytes
from shared.clock import SystemClock
from shared.errors import DependencyError, RateLimited, UpstreamError, UpstreamFailed
from shared.fast_path.protocol import HALF_CLOSE_S
from shared.metrics import GatewayMetrics
from shared.settings import Settings, load_settings
from shared.tracing import IdTracer

SECRET = "sk-a-secret-that-nobody-sees"


@dataclass
class Site:
    """A running server and what its handlers have seen."""

    url: str
    port: int
    session: aiohttp.ClientSession
    runner: web.AppRunner
    metrics: GatewayMetrics
    started: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    raised: BaseException = field(default_factory=Exception)

    def count(self, route: str, status: int) -> float:
        return float(self.metrics.requests.labels(route, str(status))._value.get())


Maker = Callable[..., Coroutine[Any, Any, Site]]


def routes(site: Callable[[], Site], settings: Settings) -> list[web.RouteDef]:
    async def wait(request: web.Request) -> web.Response:
        site().started.set()
        try:
            await site().release.wait()
        except asyncio.CancelledError:
            site().cancelled.set()
            raise
        return web.json_response({"owner": request[REQUEST_CONTEXT].caller.owner})

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await wait(request)
        await response.write(b"data: [DONE]\n\n")
        return response

    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        except (asyncio.CancelledError, ConnectionError):
            site().cancelled.set()
            raise

    async def broken(request: web.Request) -> web.StreamResponse:
        if "late" in request.query:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"half an answer")
        raise site().raised

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await read_body(request, settings))

    return [web.get("/wait", wait), web.get("/stream", stream), web.get("/flood", flood), web.get("/broken", broken),
            web.post("/echo", echo)]  # fmt: skip


@asynccontextmanager
async def site(options: dict[str, float] | None = None, **changes: str) -> AsyncIterator[Site]:
    port = free_port()
    settings = load_settings(
        {"HOST": "127.0.0.1", "PORT": str(port), "DRAIN_TIMEOUT_S": "1", "BODY_TIMEOUT_S": "0.4"} | changes, dotenv=None
    )
    metrics = GatewayMetrics(CollectorRegistry())
    body_bytes = BodyBytes(settings.MAX_BYTES_IN_WORK, metrics)
    admission = Admission(limit=100, per_key=0, decide_s=0.025, clock=SystemClock(), metrics=metrics)
    lifecycle = RequestLifecycle(settings, metrics, IdTracer(), admission=admission, body_bytes=body_bytes)
    app = web.Application(middlewares=[build_middleware(lifecycle)])
    app[REQUEST_LIFECYCLE] = lifecycle
    app[BODY_BYTES] = body_bytes
    made: list[Site] = []
    app.add_routes(routes(lambda: made[0], settings))
    runner = await serve(app, settings, **(options or {}))
    async with aiohttp.ClientSession() as session:
        made.append(Site(f"http://127.0.0.1:{port}", port, session, runner, metrics))
        yield made[0]
    await runner.cleanup()


async def test_a_client_that_leaves_cancels_its_handler() -> None:
    """Whole or streamed: no work is done, and nothing is paid, for a client that is gone."""
    async with site() as here:
        for path in ("/wait", "/stream"):
            here.started.clear()
            here.cancelled.clear()
            leaving = asyncio.ensure_future(here.session.get(here.url + path))
            await asyncio.wait_for(here.started.wait(), 1)
            if leaving.done():
                leaving.result().close()
            leaving.cancel()
            await asyncio.wait_for(here.cancelled.wait(), 1)
        assert here.count("/wait", 499) == 1


@pytest.mark.parametrize("path", ["/wait", "/stream"])
async def test_a_client_that_closes_its_sending_side_still_gets_an_answer_that_is_soon_ready(path: str) -> None:
    """Its handler is not cancelled; after the answer the connection is closed."""
    async with site() as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await here.started.wait()
        writer.write_eof()
        await asyncio.sleep(HALF_CLOSE_S / 4)
        here.release.set()
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert answer.endswith((b'{"owner": "public"}', b"data: [DONE]\n\n\r\n0\r\n\r\n"))
        assert not here.cancelled.is_set()


async def test_a_drain_lets_open_answers_finish() -> None:
    """Cleaning up stops listening immediately and waits for requests in flight."""
    async with site() as here:
        response = await here.session.get(here.url + "/stream")
        closing = asyncio.ensure_future(here.runner.cleanup())
        await asyncio.sleep(0.1)
        with pytest.raises(aiohttp.ClientConnectionError):
            await here.session.get(here.url + "/wait")
        here.release.set()
        assert (await response.read()).endswith(b"data: [DONE]\n\n")
        await asyncio.wait_for(closing, 1)


async def test_a_drain_ends_in_time() -> None:
    """What does not finish within DRAIN_TIMEOUT_S is cut, visibly."""
    async with site(DRAIN_TIMEOUT_S="0.2") as here:
        response = await here.session.get(here.url + "/stream")
        await asyncio.wait_for(here.runner.cleanup(), 2)
        assert here.cancelled.is_set()
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_a_slow_reader_is_cut_at_the_write_deadline() -> None:
    """A client that does not read holds neither memory nor a handler for longer than the deadline."""
    async with site({"write_timeout_s": 0.3}) as here:
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", here.port))
        reader.sendall(b"GET /flood HTTP/1.1\r\nhost: x\r\n\r\n")
        await asyncio.wait_for(here.cancelled.wait(), 3)
        reader.close()


@pytest.mark.parametrize(
    ("raised", "status", "kind", "code"),
    [
        (RuntimeError(SECRET), 500, "server_error", "internal_error"),
        (TimeoutError(SECRET), 500, "server_error", "internal_error"),
        (DependencyError("redis", SECRET), 503, "server_error", "dependency_unavailable"),
        (UpstreamError(SECRET, status=500), 502, "upstream_error", "upstream_failed"),
        (UpstreamError(SECRET, timed_out=True), 504, "upstream_error", "upstream_timeout"),
        (UpstreamFailed("No model.", code="upstream_timeout"), 504, "upstream_error", "upstream_timeout"),
        (RateLimited("Slow down.", code="rate_limited", retry_after_s=1.2), 429, "rate_limit_error", "rate_limited"),
        (web.HTTPPreconditionFailed(), 412, "invalid_request_error", "http_412"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_every_exception_becomes_an_answer(*, raised: Exception, status: int, kind: str, code: str) -> None:
    """One shape for all; what we did not raise for the caller says nothing of itself."""
    async with site() as here:
        here.raised = raised
        with capture_logs() as logged:
            async with here.session.get(here.url + "/broken") as response:
                body = await response.json()
        assert (response.status, body["error"]["type"], body["error"]["code"]) == (status, kind, code)
        assert SECRET not in json.dumps(body)
        assert len(response.headers["x-request-id"]) == 36
        assert ("Retry-After" in response.headers) is (status in {429, 503})
        assert "Server" not in response.headers
        assert here.count("/broken", status) == 1
        assert bool([line for line in logged if line.get("exc_info")]) is (status == 500)


async def test_a_relayed_refusal_keeps_its_words() -> None:
    """An upstream's 400 is passed on unchanged."""
    async with site() as here:
        here.raised = UpstreamError("no", status=400, try_next=False, relay=b'{"error": {"message": "too hot"}}')
        async with here.session.get(here.url + "/broken") as response:
            assert (response.status, await response.json()) == (400, {"error": {"message": "too hot"}})


async def test_an_error_after_the_first_byte_cuts_the_answer() -> None:
    """A second answer inside the first would look like content; a cut cannot be mistaken."""
    async with site() as here:
        here.raised = RuntimeError("late")
        async with here.session.get(here.url + "/broken", params={"late": "1"}) as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()


async def test_without_keys_every_caller_is_the_public() -> None:
    """API_KEYS empty: a key may be sent and is ignored."""
    async with site() as here:
        here.release.set()
        async with here.session.get(here.url + "/wait", headers={"authorization": "Bearer x"}) as response:
            assert await response.json() == {"owner": "public"}


async def test_the_owner_is_not_the_key() -> None:
    """Records name a hash, different for each key and the same for one key."""
    owners = set()
    async with site(API_KEYS="alpha,beta") as here:
        here.release.set()
        for key in ("alpha", "beta", "alpha"):
            async with here.session.get(here.url + "/wait", headers={"authorization": f"Bearer {key}"}) as response:
                owners.add((await response.json())["owner"])
    assert len(owners) == 2
    assert not owners & {"alpha", "beta", "public"}


async def test_a_star_allows_every_origin_without_credentials() -> None:
    """CORS_ORIGINS=*: any page may call with a key of its own, none with a browser's credentials."""
    async with (
        site() as here,
        here.session.options(
            here.url + "/echo", headers={"origin": "https://any.example", "access-control-request-method": "POST"}
        ) as response,
    ):
        assert response.status == 204
        assert response.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in response.headers


async def test_a_large_body_within_the_limit_arrives_whole() -> None:
    """The bound is a bound, not a tax: a megabyte, chunked and packed, comes through byte for byte."""
    payload = json.dumps({"text": "x" * 1_000_000}).encode()
    async with site(BODY_TIMEOUT_S="5") as here:
        for packed, chunked in ((None, None), ("gzip", None), ("deflate", True), (None, True)):
            async with here.session.post(
                here.url + "/echo", data=payload, headers={"content-type": "application/json"},
                compress=packed, chunked=chunked,
            ) as response:  # fmt: skip
                assert await response.read() == payload
