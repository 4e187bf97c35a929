"""Adapter of the fast path to the request lifecycle: chat requests in JSON of common size (`shared/fast_path`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from aiohttp import hdrs, web

from services.gateway.http.app_keys import BODY_BYTES, CHAT, REQUEST_LIFECYCLE
from services.gateway.http.chat_handler import JSON_TYPE, LARGE_BODY
from services.gateway.http.request_lifecycle import Target
from services.gateway.request_context import RequestContext
from shared.fast_path import Handler, PlainRequest, PlainResponse, ResponseWriter
from shared.schemas.problem import ErrorReply

PATHS = ("/v1/chat/completions", "/chat/completions")
MAX_BODY_BYTES = LARGE_BODY - 1
_STREAMED = PlainResponse(200, {}, b"")
"""Stands for a response that has been written in pieces."""


class PlainHeaders:
    """Headers of a plain request: each there once, with its name in lower case."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields

    def get(self, name: str, default: str) -> str:
        """Return one, or the default."""
        return self._fields.get(name.lower(), default)

    def getall(self, name: str, default: Sequence[str]) -> Sequence[str]:
        """Return the one there is, or the default."""
        value = self._fields.get(name.lower())
        return default if value is None else (value,)


def fast_routes(app: web.Application) -> dict[bytes, Handler]:
    """Return the handlers of an application's plain requests by request line; none where it has no chat."""
    if CHAT not in app:
        return {}
    chat = FastChat(app)
    return {f"POST {path} HTTP/1.1".encode(): partial(chat.serve, Target(hdrs.METH_POST, path)) for path in PATHS}


def accepts(request: PlainRequest) -> bool:
    """Return whether a request is declared as JSON, without parameters."""
    return request.headers.get("content-type") == JSON_TYPE


class FastChat:
    """Serves plain chat requests."""

    def __init__(self, app: web.Application) -> None:
        self._lifecycle = app[REQUEST_LIFECYCLE]
        self._body_bytes = app[BODY_BYTES]
        self._handler = app[CHAT]

    async def serve(self, target: Target, request: PlainRequest) -> PlainResponse | None:
        """Return a whole response, or None where it was streamed."""
        context = self._lifecycle.begin(PlainHeaders(request.headers))

        def render(reply: ErrorReply) -> PlainResponse:
            headers = {**reply.headers, "Content-Type": JSON_TYPE, **self._lifecycle.headers(context, target.method)}
            return PlainResponse(reply.status, headers, reply.body)

        respond = partial(self._respond, context, request)
        response = await self._lifecycle.serve(context, target, respond, render)
        return None if response is _STREAMED else response

    async def _respond(self, context: RequestContext, request: PlainRequest) -> PlainResponse:
        self._body_bytes.hold(context, len(request.body))
        chat = await self._handler.read(context, request.body)
        if not chat.stream:
            headers, body = await self._handler.respond(context, chat)
            return PlainResponse(200, headers | self._lifecycle.headers(context, hdrs.METH_POST), body)
        writer = request.writer

        async def begin(headers: dict[str, str]) -> ResponseWriter:
            writer.begin(200, headers | self._lifecycle.headers(context, hdrs.METH_POST))
            return writer

        async def end(piece: bytes) -> None:
            writer.end(piece)

        await self._handler.stream(context, chat, begin, end)
        return _STREAMED
