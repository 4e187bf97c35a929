"""The way through aiohttp of every HTTP request that the fast lane does not take.

Order, outermost first: `observe` names the request and writes its line, `render_errors` turns exceptions into answers,
`admit` checks the key and the client's id, `limited` gives chat requests their places. What each does is in `door.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from services.gateway.http.app_keys import REQUEST_CONTEXT, REQUEST_LIFECYCLE
from services.gateway.http.path_hints import hint, shown_path
from services.gateway.http.request_lifecycle import RequestLifecycle, is_preflight
from services.gateway.limits.admission import Admission
from services.gateway.limits.body_bytes import BodyBytes

LIMITED_ROUTES = frozenset({"/chat/completions", "/v1/chat/completions", "/route", "/v1/route"})
CLIENT_GONE = 499
"""Status in log and metrics of a request whose client went away; nobody receives it."""


def build_middlewares(door: RequestLifecycle) -> list[Middleware]:
    """Return the middlewares in the order in which `web.Application` wants them."""
    return [_observe(door), _render_errors, _admit(door)]


def build_finisher(door: RequestLifecycle) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Return the `on_response_prepare` handler: headers of every answer, streams included."""

    async def finish(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.popall(hdrs.SERVER, None)
        if REQUEST_CONTEXT in request:
            response.headers.update(door.headers(request[REQUEST_CONTEXT], request.method))
        else:
            response.headers.update({"X-Content-Type-Options": "nosniff"} | door.cors(request.headers, request.method))

    return finish


def route_of(request: web.Request) -> str:
    """Return the matched route as it was registered, or `other`: a bounded label."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "other"


def _observe(door: RequestLifecycle) -> Middleware:
    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        visit = request[REQUEST_CONTEXT] = door.enter(request.headers)
        status = 500
        try:
            response = await handler(request)
            status = response.status
        except asyncio.CancelledError:
            status = CLIENT_GONE
            raise
        finally:
            door.leave(visit, request.method, route_of(request), status)
        return response

    return observe


@web.middleware
async def _render_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Exception as error:
        unmatched = request.match_info.http_exception is not None
        if unmatched:
            request[REQUEST_CONTEXT].log_fields["path"] = shown_path(request.path)
        said = hint(request) if unmatched else ""
        response = request.app[REQUEST_LIFECYCLE].refused(request[REQUEST_CONTEXT], error, route_of(request), said)
        if request.writer.output_size > 0:
            # The answer has begun: a second one would be read as part of the first. Cut instead.
            raise ConnectionAbortedError("failed after the first byte of the answer") from error
        return response


def _admit(door: RequestLifecycle) -> Middleware:
    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        preflight = is_preflight(request.headers, request.method)
        if preflight and hdrs.ACCESS_CONTROL_ALLOW_ORIGIN in door.cors(request.headers, request.method):
            return web.Response(status=204)
        if request.match_info.http_exception is None:  # else 404 or 405; which paths exist is public
            door.admit(request[REQUEST_CONTEXT], route_of(request))
        return await handler(request)

    return admit


def limit_places(admission: Admission, bytes_in_work: BodyBytes) -> Middleware:
    """Return the innermost middleware: a chat request holds a place from before its body is read to its last byte.

    What `read_body` counts as bytes in work is released here, for requests of all kinds.
    """

    @web.middleware
    async def limited(request: web.Request, handler: Handler) -> web.StreamResponse:
        visit = request[REQUEST_CONTEXT]
        if route_of(request) not in LIMITED_ROUTES or request.match_info.http_exception is not None:
            try:
                return await handler(request)
            finally:
                bytes_in_work.release(visit)
        owner = visit.caller.owner
        await admission.enter(owner)
        try:
            return await handler(request)
        finally:
            bytes_in_work.release(visit)
            admission.leave(owner)

    return limited
