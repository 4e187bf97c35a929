"""Replies: results and errors in Qdrant's JSON envelope `{"result", "status", "time"}`."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web

from deploy.qdrant_engine.problems import ApiProblem
from shared.fast_path import PlainResponse

Handler = Callable[[web.Request], Awaitable[object]]
"""Handler of a route: returns a JSON value or raises ApiProblem."""

_HEADERS = {"Content-Type": "application/json"}

logger = logging.getLogger(__name__)


async def answer_to(asked: Awaitable[object], what: str) -> PlainResponse:
    """Await the result of a handler and return the reply; `what` names the request in the log."""
    started = time.perf_counter()
    try:
        result, code = {"result": await asked, "status": "ok"}, 200
    except ApiProblem as problem:
        result, code = _error(str(problem)), problem.status
    except web.HTTPRequestEntityTooLarge:
        result, code = _error("Payload too large"), 413
    except Exception as error:  # noqa: BLE001 - the edge of the service
        return failure(error, what)
    return PlainResponse(code, _HEADERS, orjson.dumps({**result, "time": time.perf_counter() - started}))


def failure(error: Exception, what: str = "an answer") -> PlainResponse:
    """Return the reply to an unexpected error, and log it with its traceback."""
    logger.error("%s failed", what, exc_info=error)
    return PlainResponse(500, _HEADERS, orjson.dumps(_error("Service internal error")))


def answered(handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return an aiohttp handler that renders the result or error of `handler`."""

    async def handle(request: web.Request) -> web.Response:
        answer = await answer_to(handler(request), f"{request.method} {request.path}")
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    return handle


def _error(message: str) -> dict[str, object]:
    return {"status": {"error": message}}
