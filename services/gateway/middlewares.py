"""What happens to every HTTP request, whoever handles it: ids, access, errors, one log line, one count.

Order, outermost first: `observe` names the request and writes its line, `render_errors` turns exceptions into answers,
`admit` checks the key and the client's id, `limited` gives chat requests their places. Nothing here looks at the path
as a string: access is decided by the route that matched, so no trick with `Host`, encoding or dots changes it
(CVE-2026-49468 was one).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from services.gateway.access import Access
from services.gateway.admission import Admission
from services.gateway.keys import CALLER, CLIENT_ID, LINE, OWN_ID, OWNER, PUBLIC_ID, TOLD
from services.gateway.problems import problem_response
from shared import tracing
from shared.errors import ClientError, InvalidRequest
from shared.logs import get_logger
from shared.metrics import GatewayMetrics
from shared.schemas.ids import is_request_id, uuid7
from shared.settings import Settings
from shared.tracing import TRACEPARENT, TRACESTATE, IdTracer, Tracer

REQUEST_ID = "X-Request-ID"
NEEDS_CLIENT_ID = "/chat/completions"
LIMITED_ROUTES = frozenset({"/chat/completions", "/v1/chat/completions", "/route", "/v1/route"})
CLIENT_GONE = 499
"""Status in log and metrics of a request whose client went away; nobody receives it."""

_EXPOSED = "x-request-id, x-router-model, x-router-decision, x-router-propensity, x-router-cost-usd, \
x-router-overhead-ms, x-router-degraded, x-router-session, x-router-exploration, x-router-feedback-url, retry-after, \
x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens, x-ratelimit-remaining-usd"

log = get_logger(__name__)


def build_middlewares(settings: Settings, metrics: GatewayMetrics, tracer: Tracer | None = None) -> list[Middleware]:
    """Return the middlewares in the order in which `web.Application` wants them."""
    return [_observe(metrics, tracer or IdTracer()), _render_errors, _admit(settings)]


def build_finisher(settings: Settings) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Return the `on_response_prepare` handler: headers of every answer, streams included."""
    origins = frozenset(settings.CORS_ORIGINS)

    async def finish(request: web.Request, response: web.StreamResponse) -> None:
        headers = response.headers
        headers.popall(hdrs.SERVER, None)
        headers["X-Content-Type-Options"] = "nosniff"
        if PUBLIC_ID in request:
            headers[REQUEST_ID] = request[PUBLIC_ID]
            headers.update(request[TOLD])
        if hdrs.ORIGIN in request.headers:
            headers.update(cors_headers(request, origins))

    return finish


def cors_headers(request: web.Request, origins: frozenset[str]) -> dict[str, str]:
    """Return what a browser needs to read the answer. Credentials are never allowed: keys travel in a header."""
    origin = request.headers.get(hdrs.ORIGIN, "")
    if "*" in origins:
        allowed = "*"
    elif origin in origins:
        allowed = origin
    else:
        return {hdrs.VARY: hdrs.ORIGIN}
    headers: dict[str, str] = {hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: allowed, hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: _EXPOSED}
    if allowed != "*":
        headers[hdrs.VARY] = hdrs.ORIGIN
    if _is_preflight(request):
        headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = "GET, POST"
        headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = "Authorization, *"
        headers[hdrs.ACCESS_CONTROL_MAX_AGE] = "86400"
    return headers


def route_of(request: web.Request) -> str:
    """Return the matched route as it was registered, or `other`: a bounded label."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "other"


def _observe(metrics: GatewayMetrics, tracer: Tracer) -> Middleware:
    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        _name(request)
        sent = request.headers
        trace = tracing.begin(tracer, sent.getall(TRACEPARENT, ()), sent.getall(TRACESTATE, ()), request[OWN_ID])
        status = 500
        try:
            response = await handler(request)
            status = response.status
        except asyncio.CancelledError:
            status = CLIENT_GONE
            raise
        finally:
            route = route_of(request)
            metrics.requests.labels(route, str(status)).inc()
            facts = {
                "method": request.method if route != "other" else "other",
                "route": route,
                "status": status,
                "duration_ms": round((time.perf_counter() - started) * 1000, 3),
                "id": request[OWN_ID],
                "public_id": request[PUBLIC_ID],
                "trace_id": trace.trace_id,
            }
            log.info("request", **(request[LINE] | facts))
            tracing.end(trace, request[LINE] | facts)
        return response

    return observe


def _name(request: web.Request) -> None:
    """Give the request its ids. A client's id that does not fit is treated as absent, never echoed."""
    request[LINE] = {}
    request[TOLD] = {}
    request[OWN_ID] = own_id = uuid7(time.time())
    sent = request.headers.getall(REQUEST_ID, [])
    request[CLIENT_ID] = client_id = sent[0] if len(sent) == 1 and is_request_id(sent[0]) else None
    request[PUBLIC_ID] = client_id or own_id


@web.middleware
async def _render_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Exception as error:
        response = problem_response(error)
        request[LINE]["error"] = error.code if isinstance(error, ClientError) else type(error).__name__
        if response.status == web.HTTPInternalServerError.status_code:
            log.exception("unexpected error", id=request[OWN_ID], route=route_of(request))
        if request.writer.output_size > 0:
            # The answer has begun: a second one would be read as part of the first. Cut instead.
            raise ConnectionAbortedError("failed after the first byte of the answer") from error
        return response


def _admit(settings: Settings) -> Middleware:
    access = Access(settings)
    origins = frozenset(settings.CORS_ORIGINS)

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        if _is_preflight(request) and hdrs.ACCESS_CONTROL_ALLOW_ORIGIN in cors_headers(request, origins):
            return web.Response(status=204)
        if request.match_info.http_exception is not None:
            return await handler(request)  # 404 or 405; which paths exist is public
        route = route_of(request)
        request[CALLER] = caller = access.admit(request, route)
        request[OWNER] = caller.owner
        if route == NEEDS_CLIENT_ID and request[CLIENT_ID] is None:
            raise InvalidRequest(
                "The header X-Request-ID is needed: 1 to 128 of A-Z a-z 0-9 . _ : -", code="missing_request_id"
            )
        return await handler(request)

    return admit


def _is_preflight(request: web.Request) -> bool:
    return request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers


def limit_places(admission: Admission) -> Middleware:
    """Return the innermost middleware: a chat request holds a place from before its body is read to its last byte."""

    @web.middleware
    async def limited(request: web.Request, handler: Handler) -> web.StreamResponse:
        if route_of(request) not in LIMITED_ROUTES or request.match_info.http_exception is not None:
            return await handler(request)
        async with admission.place(request[OWNER]):
            return await handler(request)

    return limited
