"""HTTP handlers of the embedder."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext

import orjson
from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from services.embedder.embed_endpoint import EmbedEndpoint, check_type, error_reply, problem_reply
from services.embedder.micro_batcher import MicroBatcher
from shared.errors import InvalidRequest, RequestTimeout, Unavailable
from shared.fast_path import PlainRequest, PlainResponse
from shared.resilience.supervision import Supervisor
from shared.schemas.storage import EmbeddingModel
from shared.settings import Settings

EMBED = b"POST /embed HTTP/1.1"
BATCHER = web.AppKey("batcher", MicroBatcher)
MODEL = web.AppKey("model", EmbeddingModel)
SETTINGS = web.AppKey("settings", Settings)
REGISTRY = web.AppKey("registry", CollectorRegistry)
DRAINING = web.AppKey("draining", asyncio.Event)
ENDPOINT = web.AppKey("endpoint", EmbedEndpoint)
SUPERVISOR = web.AppKey("supervisor", Supervisor)

_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


async def embed(request: web.Request) -> web.Response:
    """`POST /embed` through aiohttp, for requests that the fast path does not handle."""
    check_type(request.headers)
    body = await _body(request, request.app[SETTINGS].BODY_TIMEOUT_S)
    return _response(await request.app[ENDPOINT].reply(request.headers, body))


def fast_embed(app: web.Application) -> Callable[[PlainRequest], Awaitable[PlainResponse]]:
    """Return the fast path's handler of `POST /embed`."""
    endpoint = app[ENDPOINT]

    async def answer(request: PlainRequest) -> PlainResponse:
        check_type(request.headers)
        return await endpoint.reply(request.headers, request.body)

    return answer


async def health(request: web.Request) -> web.Response:
    """`GET /health`: the model, the length of the queue, the state of background loops."""
    app = request.app
    state = {
        "status": "ok" if app[BATCHER].running else "failed",
        "model": app[MODEL].id,
        "dimension": app[MODEL].dimension,
        "queued": len(app[BATCHER]),
        "trouble": app[SUPERVISOR].trouble(),
        "background": {name: pulse.view() for name, pulse in app[SUPERVISOR].pulses.items()},
    }
    return web.json_response(body=orjson.dumps(state), status=200 if app[BATCHER].running else 503)


async def ready(request: web.Request) -> web.Response:
    """`GET /ready`: 200 while it accepts requests."""
    if request.app[DRAINING].is_set() or not request.app[BATCHER].running:
        raise Unavailable("The embedder is stopping.", code="draining", retry_after_s=1.0)
    return web.json_response({"status": "ready"})


async def metrics(request: web.Request) -> web.Response:
    """`GET /metrics`: metrics in Prometheus' text format."""
    body = generate_latest(request.app[REGISTRY])
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_LATEST})


async def _body(request: web.Request, timeout_s: float) -> bytes:
    try:
        # A body that came with the head needs no time-out, which would cost as much as reading it.
        async with nullcontext() if request.content.is_eof() else asyncio.timeout(timeout_s):
            return await request.read()
    except TimeoutError as error:
        raise RequestTimeout("The body did not arrive in time.", code="request_timeout") from error
    except (HttpProcessingError, RequestPayloadError, web.PayloadAccessError) as error:
        raise InvalidRequest("The body does not match its declared encoding.", code="bad_encoding") from error


@web.middleware
async def errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Middleware that turns every exception, including aiohttp's own, into OpenAI's error shape."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        code = _HTTP_CODES.get(error.status, f"http_{error.status}")
        response = _response(problem_reply(error.status, f"{error.reason}.", code))
        if hdrs.ALLOW in error.headers:
            response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
        return response
    except Exception as error:  # noqa: BLE001 - the edge of the service
        return _response(error_reply(error))


def _response(answer: PlainResponse) -> web.Response:
    response = web.Response(status=answer.status, headers=answer.headers, body=answer.body)
    if answer.status in (408, 413):  # the rest of the body is unread
        response.force_close()
    return response
