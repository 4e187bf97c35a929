"""Adapter of aiohttp to the request lifecycle: one middleware, and the headers of every response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from services.gateway.dialects.table import DIALECTS
from services.gateway.http.app_keys import REQUEST_CONTEXT
from services.gateway.http.error_responses import Problem
from services.gateway.http.path_hints import hint, shown_path
from services.gateway.http.request_lifecycle import OTHER, RequestLifecycle, Target, is_preflight
from services.gateway.http.routes import PREFIX
from shared.schemas.problem import ErrorReply


def build_middleware(lifecycle: RequestLifecycle) -> Middleware:
    """Return the one middleware of the application."""

    @web.middleware
    async def serve(request: web.Request, handler: Handler) -> web.StreamResponse:
        context = request[REQUEST_CONTEXT] = lifecycle.begin(request.headers)
        target = _target(request)
        if is_preflight(request.headers, request.method) and _is_allowed_origin(request, lifecycle):
            target, handler = replace(target, is_public=True), _preflight
        elif request.match_info.http_exception is not None:
            context.log_fields["path"] = shown_path(request.path)

        def render(reply: ErrorReply) -> web.StreamResponse:
            if request.writer.output_size > 0:
                # A second response would be read as part of the one that has begun. Cut it instead.
                raise ConnectionAbortedError("failed after the first byte of the response")
            shown = request.path if target.route == OTHER else target.route  # a wrong method matches no route
            dialect = DIALECTS.get(shown.removeprefix(PREFIX))
            return Problem(reply if dialect is None else dialect.reply(reply, context.public_id))

        return await lifecycle.serve(context, target, lambda: handler(request), render)

    return serve


def build_finisher(lifecycle: RequestLifecycle) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Return the `on_response_prepare` handler: headers of every response, streams included."""

    async def finish(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.popall(hdrs.SERVER, None)
        if REQUEST_CONTEXT in request:
            response.headers.update(lifecycle.headers(request[REQUEST_CONTEXT], request.method))
        else:
            cors = lifecycle.cors(request.headers, request.method)
            response.headers.update({"X-Content-Type-Options": "nosniff"} | cors)

    return finish


def _target(request: web.Request) -> Target:
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else OTHER
    if request.match_info.http_exception is not None:
        return Target(request.method, route, is_public=True, hint=hint(request))
    return Target(request.method, route)


def _is_allowed_origin(request: web.Request, lifecycle: RequestLifecycle) -> bool:
    return hdrs.ACCESS_CONTROL_ALLOW_ORIGIN in lifecycle.cors(request.headers, request.method)


async def _preflight(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=204)
