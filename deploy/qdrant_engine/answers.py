"""Results and errors in Qdrant's shapes: `{"result", "status", "time"}`."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web

from deploy.qdrant_engine.problems import ApiProblem

Handler = Callable[[web.Request], Awaitable[object]]
"""What a route does: it returns a JSON value or raises ApiProblem."""

logger = logging.getLogger(__name__)


def answered(handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return an aiohttp handler that wraps what `handler` returns or raises."""

    async def handle(request: web.Request) -> web.Response:
        started = time.perf_counter()
        try:
            result, code = {"result": await handler(request), "status": "ok"}, 200
        except ApiProblem as problem:
            result, code = _error(str(problem)), problem.status
        except web.HTTPRequestEntityTooLarge:
            result, code = _error("Payload too large"), 413
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            result, code = _error("Service internal error"), 500
        body = orjson.dumps({**result, "time": time.perf_counter() - started})
        return web.Response(body=body, status=code, content_type="application/json")

    return handle


def _error(message: str) -> dict[str, object]:
    return {"status": {"error": message}}
