"""What happens to every HTTP request, whoever reads it: aiohttp (`middlewares.py`) or the fast lane (`plain_chat.py`).

    visit = door.enter(headers)       it gets its ids and its trace
    door.admit(visit, route)          its key and its id are looked at
    door.headers(visit, method)       what every answer says
    door.refused(visit, error, route) what an error answers
    door.leave(visit, ...)            one log line, one count, the end of its trace

Access is decided by the route that matched, never by the path as a string, so no trick with `Host`, encoding or dots
changes it (CVE-2026-49468 was one).
"""

from __future__ import annotations

import time

from aiohttp import hdrs, web

from services.gateway.http.auth import Access
from services.gateway.http.error_responses import problem_response
from services.gateway.http.openapi import ROUTER_HEADERS
from services.gateway.request_context import Headers, RequestContext
from shared import tracing
from shared.errors import ClientError, InvalidRequest
from shared.logs import get_logger
from shared.metrics import GatewayMetrics
from shared.schemas.ids import is_request_id, uuid7
from shared.settings import Settings
from shared.tracing import TRACEPARENT, TRACESTATE, Tracer

REQUEST_ID = "X-Request-ID"
NEEDS_CLIENT_ID = "/chat/completions"
POLLED = frozenset({"/ready", "/health"})
"""Routes that load balancers and the local stack poll: their log lines are for debugging."""
_RATE_HEADERS = [f"x-ratelimit-remaining-{name}" for name in ("requests", "tokens", "usd")]
_EXPOSED = ", ".join([*ROUTER_HEADERS, "retry-after", *_RATE_HEADERS])

log = get_logger(__name__)


class RequestLifecycle:
    """The one of a process."""

    def __init__(self, settings: Settings, metrics: GatewayMetrics, tracer: Tracer) -> None:
        self._access = Access(settings)
        self._origins = frozenset(settings.CORS_ORIGINS)
        self._metrics = metrics
        self._tracer = tracer
        self._log = log.bind()  # finds the logger once, not for each line

    def enter(self, headers: Headers) -> RequestContext:
        """Name a request. A client's id that does not fit is treated as absent, never echoed."""
        own_id = uuid7(time.time())
        sent = headers.getall(REQUEST_ID, ())
        client_id = sent[0] if len(sent) == 1 and is_request_id(sent[0]) else None
        trace = tracing.begin(self._tracer, headers.getall(TRACEPARENT, ()), headers.getall(TRACESTATE, ()), own_id)
        return RequestContext(headers, time.perf_counter(), own_id, client_id, trace)

    def admit(self, visit: RequestContext, route: str) -> None:
        """Find out who calls. Raises Unauthenticated, Forbidden, and InvalidRequest without an id that is needed."""
        visit.caller = self._access.admit(visit.headers, route)
        if route == NEEDS_CLIENT_ID and visit.client_id is None:
            raise InvalidRequest(
                "The header X-Request-ID is needed: 1 to 128 of A-Z a-z 0-9 . _ : -", code="missing_request_id"
            )

    def refused(self, visit: RequestContext, error: Exception, route: str, hint: str = "") -> web.Response:
        """Return what an error answers; the log has its word, and one that nobody foresaw in full."""
        response = problem_response(error, hint)
        visit.log_fields["error"] = error.code if isinstance(error, ClientError) else type(error).__name__
        if response.status == web.HTTPInternalServerError.status_code:
            log.error("unexpected error", id=visit.own_id, route=route, exc_info=error)
        return response

    def headers(self, visit: RequestContext, method: str) -> dict[str, str]:
        """Return headers of every answer, streams included."""
        headers = {"X-Content-Type-Options": "nosniff", REQUEST_ID: visit.public_id, **visit.response_headers}
        return headers | self.cors(visit.headers, method)

    def cors(self, sent: Headers, method: str) -> dict[str, str]:
        """Return what a browser needs to read the answer. Credentials are never allowed: keys travel in a header."""
        origin = sent.get(hdrs.ORIGIN, "")
        if not origin:
            return {}
        if "*" in self._origins:
            allowed = "*"
        elif origin in self._origins:
            allowed = origin
        else:
            return {hdrs.VARY: hdrs.ORIGIN}
        headers: dict[str, str] = {
            hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: allowed,
            hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: _EXPOSED,
        }
        if allowed != "*":
            headers[hdrs.VARY] = hdrs.ORIGIN
        if is_preflight(sent, method):
            headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = "GET, POST"
            headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = "Authorization, *"
            headers[hdrs.ACCESS_CONTROL_MAX_AGE] = "86400"
        return headers

    def leave(self, visit: RequestContext, method: str, route: str, status: int) -> None:
        """Write the canonical line, count, and end the trace. `route` is a bounded label."""
        self._metrics.requests.labels(route, str(status)).inc()
        visit.log_fields.update(
            method=method if route != "other" else "other",
            route=route,
            status=status,
            duration_ms=round((time.perf_counter() - visit.started) * 1000, 3),
            id=visit.own_id,
            public_id=visit.public_id,
            trace_id=visit.trace.trace_id,
        )
        (self._log.debug if route in POLLED else self._log.info)("request", **visit.log_fields)
        tracing.end(visit.trace, visit.log_fields)


def is_preflight(sent: Headers, method: str) -> bool:
    """Return whether a browser asks what it may do."""
    return method == hdrs.METH_OPTIONS and bool(sent.getall(hdrs.ACCESS_CONTROL_REQUEST_METHOD, ()))
