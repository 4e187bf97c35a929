"""The embedder's routes: parse, call, render."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable
from contextlib import nullcontext

import numpy as np
import orjson
from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import ValidationError

from services.embedder.batcher import Batcher
from shared.errors import (
    ClientError,
    InvalidRequest,
    PayloadTooLarge,
    RequestTimeout,
    Unavailable,
    UnsupportedMedia,
)
from shared.logs import get_logger
from shared.schemas.embedding import DEADLINE_HEADER, DIMENSION_HEADER, MODEL_HEADER, RAW_VECTORS, EmbedRequest
from shared.schemas.problem import problem
from shared.schemas.storage import EmbeddingModel
from shared.settings import Settings

BATCHER = web.AppKey("batcher", Batcher)
MODEL = web.AppKey("model", EmbeddingModel)
SETTINGS = web.AppKey("settings", Settings)
REGISTRY = web.AppKey("registry", CollectorRegistry)
DRAINING = web.AppKey("draining", asyncio.Event)

_STATUS: dict[type[ClientError], int] = {
    InvalidRequest: 400,
    RequestTimeout: 408,
    PayloadTooLarge: 413,
    UnsupportedMedia: 415,
    Unavailable: 503,
}
_MILLISECONDS = re.compile(r"[0-9]{1,9}")
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}

log = get_logger(__name__)


async def embed(request: web.Request) -> web.Response:
    """`POST /embed`: texts in, vectors out, as JSON or (by Accept) raw float32."""
    settings, model = request.app[SETTINGS], request.app[MODEL]
    texts = _texts(await _body(request, settings.BODY_TIMEOUT_S), settings)
    vectors = await request.app[BATCHER].embed(texts, within_s=_deadline_s(request))
    headers = {MODEL_HEADER: model.id, DIMENSION_HEADER: str(model.dimension)}
    if RAW_VECTORS in request.headers.get(hdrs.ACCEPT, ""):
        body = vectors.astype("<f4", copy=False).tobytes()
        return web.Response(body=body, content_type=RAW_VECTORS, headers=headers)
    answer = {"model": model.id, "dimension": model.dimension, "vectors": np.ascontiguousarray(vectors)}
    body = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return web.Response(body=body, content_type="application/json", headers=headers)


async def health(request: web.Request) -> web.Response:
    """`GET /health`: which model answers, and how many texts wait."""
    app = request.app
    state = {
        "status": "ok" if app[BATCHER].running else "failed",
        "model": app[MODEL].id,
        "dimension": app[MODEL].dimension,
        "queued": len(app[BATCHER]),
    }
    return web.json_response(body=orjson.dumps(state), status=200 if app[BATCHER].running else 503)


async def ready(request: web.Request) -> web.Response:
    """`GET /ready`: 200 when it can serve."""
    if request.app[DRAINING].is_set() or not request.app[BATCHER].running:
        raise Unavailable("The embedder is stopping.", code="draining", retry_after_s=1.0)
    return web.json_response({"status": "ready"})


async def metrics(request: web.Request) -> web.Response:
    """`GET /metrics`: Prometheus."""
    body = generate_latest(request.app[REGISTRY])
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_LATEST})


def _deadline_s(request: web.Request) -> float | None:
    """Return how long the asker waits, counted from now; None where it does not say."""
    left_ms = request.headers.get(DEADLINE_HEADER, "")
    return int(left_ms) / 1000 if _MILLISECONDS.fullmatch(left_ms) else None


async def _body(request: web.Request, timeout_s: float) -> bytes:
    if request.content_type != "application/json":
        raise UnsupportedMedia("The content type must be application/json.", code="unsupported_media_type")
    try:
        # What came with the head has not to be waited for; a clock costs as much as reading it.
        async with nullcontext() if request.content.is_eof() else asyncio.timeout(timeout_s):
            return await request.read()
    except TimeoutError as error:
        raise RequestTimeout("The body did not arrive in time.", code="request_timeout") from error
    except (HttpProcessingError, RequestPayloadError, web.PayloadAccessError) as error:
        raise InvalidRequest("The body does not match its declared encoding.", code="bad_encoding") from error


def _texts(body: bytes, settings: Settings) -> list[str]:
    """Return the texts, each cut to what is embedded."""
    try:
        texts = EmbedRequest.model_validate(orjson.loads(body)).texts
    except orjson.JSONDecodeError as error:
        raise InvalidRequest("The body is not valid JSON.", code="invalid_json") from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        path = ".".join(map(str, first["loc"]))
        raise InvalidRequest(f"{first['msg']}.", code="invalid_value", param=path or None) from None
    if len(texts) > settings.EMBED_QUEUE_LIMIT:
        limit = settings.EMBED_QUEUE_LIMIT
        raise PayloadTooLarge(f"At most {limit} texts fit into one request.", code="too_many_texts", param="texts")
    return [text[: settings.EMBED_MAX_CHARS] for text in texts]


@web.middleware
async def errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer every error in OpenAI's shape; this is the one place that sets statuses. No text reaches the log."""
    try:
        return await handler(request)
    except ClientError as error:
        response = _problem(_STATUS.get(type(error), 500), str(error), error.code, error.param, error.retry_after_s)
    except web.HTTPException as error:
        code = _HTTP_CODES.get(error.status, f"http_{error.status}")
        response = _problem(error.status, f"{error.reason}.", code)
        if hdrs.ALLOW in error.headers:
            response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
    except Exception as error:  # noqa: BLE001 - the edge of the service
        log.error(  # noqa: TRY400 - a traceback's message could quote a text
            "request failed", error=type(error).__name__
        )
        response = _problem(500, "The embedder failed.", "internal_error")
    return response


def _problem(
    status: int, message: str, code: str, param: str | None = None, retry_after_s: float | None = None
) -> web.Response:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    response = web.Response(
        status=status,
        body=problem(message, kind=kind, code=code, param=param),
        content_type="application/json",
    )
    if retry_after_s is not None:
        response.headers[hdrs.RETRY_AFTER] = str(math.ceil(retry_after_s))
    if status in (408, 413):  # the rest of the body is unread
        response.force_close()
    return response
