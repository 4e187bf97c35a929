"""Request lifecycle: what happens to every HTTP request, whichever adapter reads it.

    context = lifecycle.begin(headers)                         ids and trace
    await lifecycle.serve(context, target, respond, render)    access, limits, response or error, log line, metrics
    lifecycle.headers(context, method)                         headers of every response

The adapters are `middlewares.py` (aiohttp) and `fast_chat.py` (the fast path).

Access is decided by the route that matched, never by the path as a string, so no trick with `Host`, encoding or dots
changes it (CVE-2026-49468 was one).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from aiohttp import ClientConnectionResetError, hdrs

from services.gateway.dialects.table import DIALECTS
from services.gateway.http.auth import Access
from services.gateway.http.error_responses import reply_to
from services.gateway.http.openapi import ROUTER_HEADERS
from services.gateway.limits.admission import Admission, BodyBytes
from services.gateway.request_context import Headers, RequestContext
from shared import tracing
from shared.errors import ClientError, InvalidRequest
from shared.logs import get_logger
from shared.metrics import GatewayMetrics
from shared.schemas.ids import is_request_id, uuid7
from shared.schemas.problem import ErrorReply
from shared.settings import Settings
from shared.tracing import TRACEPARENT, TRACESTATE, Tracer

REQUEST_ID = "X-Request-ID"
NEEDS_CLIENT_ID = "/chat/completions"
LIMITED_ROUTES = frozenset(
    prefix + path for path in ("/chat/completions", "/embeddings", "/route", *DIALECTS) for prefix in ("", "/v1")
)
"""Routes whose requests hold a place of `Admission` until the last byte of the response."""
POLLED = frozenset({"/ready", "/health"})
"""Routes that load balancers and the local stack poll: their log lines are for debugging."""
CLIENT_GONE = 499
"""Status in log and metrics of a request whose client left before the response was complete."""
OTHER = "other"
"""Route of a request that no route matches: a bounded label."""
_RATE_HEADERS = [f"x-ratelimit-remaining-{name}" for name in ("requests", "tokens", "usd")]
_EXPOSED = ", ".join([*ROUTER_HEADERS, "retry-after", *_RATE_HEADERS])

log = get_logger(__name__)


class Response(Protocol):
    """A response of either adapter."""

    @property
    def status(self) -> int:
        """The HTTP status."""


R = TypeVar("R", bound=Response)


@dataclass(frozen=True, slots=True)
class Target:
    """Method and matched route of a request.

    Attributes:
        method: the HTTP method.
        route: the route as it was registered, or `OTHER`.
        is_public: whether it needs no key: preflights, and what no route matches (which paths exist is public).
        hint: the message where no route matches.
    """

    method: str
    route: str
    is_public: bool = False
    hint: str = ""


class RequestLifecycle:
    """The lifecycle of all requests of a process."""

    def __init__(
        self,
        settings: Settings,
        metrics: GatewayMetrics,
        tracer: Tracer,
        *,
        admission: Admission,
        body_bytes: BodyBytes,
    ) -> None:
        self._access = Access(settings)
        self._origins = frozenset(settings.CORS_ORIGINS)
        self._metrics = metrics
        self._tracer = tracer
        self._admission = admission
        self._body_bytes = body_bytes
        self._log = log.bind()  # finds the logger once, not for each line

    def begin(self, headers: Headers) -> RequestContext:
        """Return the context of a new request. A client's id that is not valid is ignored, never echoed."""
        own_id = uuid7(time.time())
        sent = headers.getall(REQUEST_ID, ())
        client_id = sent[0] if len(sent) == 1 and is_request_id(sent[0]) else None
        trace = tracing.begin(self._tracer, headers.getall(TRACEPARENT, ()), headers.getall(TRACESTATE, ()), own_id)
        return RequestContext(headers, time.perf_counter(), own_id, client_id, trace)

    async def serve(
        self,
        context: RequestContext,
        target: Target,
        respond: Callable[[], Awaitable[R]],
        render: Callable[[ErrorReply], R],
    ) -> R:
        """Return what `respond` returns for an admitted request, or an error as `render` makes it a response.

        A request ends when `respond` has returned. Raises CancelledError, and ClientConnectionResetError for a write to
        a client that is gone.
        """
        status = 500
        try:
            try:
                response = await self._admitted(context, target, respond)
            except ClientConnectionResetError:
                raise
            except Exception as error:  # noqa: BLE001 - the edge of the service
                response = render(self._error_reply(context, target, error))
            status = response.status
        except (asyncio.CancelledError, ClientConnectionResetError):
            status = CLIENT_GONE
            context.log_fields["error"] = "client_gone"
            raise
        finally:
            self._end(context, target, status)
        return response

    async def _admitted(self, context: RequestContext, target: Target, respond: Callable[[], Awaitable[R]]) -> R:
        """Respond within the limits. What counts as bytes of its body is released at the end."""
        if not target.is_public:
            self._check_access(context, target.route)
        limited = target.route in LIMITED_ROUTES and not target.is_public
        owner = context.caller.owner
        if limited:
            await self._admission.enter(owner)
        try:
            return await respond()
        finally:
            self._body_bytes.release(context)
            if limited:
                self._admission.leave(owner)

    def _check_access(self, context: RequestContext, route: str) -> None:
        """Set the caller. Raises Unauthenticated, Forbidden, and InvalidRequest without an id that is needed."""
        context.caller = self._access.admit(context.headers, route)
        if route == NEEDS_CLIENT_ID and context.client_id is None:
            raise InvalidRequest(
                "The header X-Request-ID is needed: 1 to 128 of A-Z a-z 0-9 . _ : -", code="missing_request_id"
            )

    def _error_reply(self, context: RequestContext, target: Target, error: Exception) -> ErrorReply:
        """Return the reply to an error. The log has its code, and a traceback of an unexpected one."""
        reply = reply_to(error, target.hint)
        context.log_fields["error"] = error.code if isinstance(error, ClientError) else type(error).__name__
        if reply.status == 500:
            log.error("unexpected error", id=context.own_id, route=target.route, exc_info=error)
        return reply

    def _end(self, context: RequestContext, target: Target, status: int) -> None:
        """Write the canonical log line, count the request, and end the trace."""
        self._metrics.requests.labels(target.route, str(status)).inc()
        context.log_fields.update(
            method=target.method if target.route != OTHER else OTHER,
            route=target.route,
            status=status,
            duration_ms=round((time.perf_counter() - context.started) * 1000, 3),
            id=context.own_id,
            public_id=context.public_id,
            trace_id=context.trace.trace_id,
        )
        (self._log.debug if target.route in POLLED else self._log.info)("request", **context.log_fields)
        tracing.end(context.trace, context.log_fields)

    # -- headers -------------------------------------------------------------------------------------------------------

    def headers(self, context: RequestContext, method: str) -> dict[str, str]:
        """Return the headers that every response has, streams included."""
        headers = {"X-Content-Type-Options": "nosniff", REQUEST_ID: context.public_id, **context.response_headers}
        return headers | self.cors(context.headers, method)

    def cors(self, sent: Headers, method: str) -> dict[str, str]:
        """Return what a browser needs to read the response. Credentials are never allowed: keys travel in a header."""
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


def is_preflight(sent: Headers, method: str) -> bool:
    """Return whether a request is a browser's CORS preflight."""
    return method == hdrs.METH_OPTIONS and bool(sent.getall(hdrs.ACCESS_CONTROL_REQUEST_METHOD, ()))
