"""Fast path of chat requests: the same lifecycle, admission, use case and headers as through aiohttp.

The fast path (`shared/fast_path`) reads requests that every server reads alike. It takes those with a
body of common size; everything else goes on to aiohttp's server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from aiohttp import hdrs, web

from services.gateway.chat.route_chat import RouteChat
from services.gateway.chat.streaming import OpenStream
from services.gateway.feedback.signed_links import SignedLinks
from services.gateway.http.app_keys import ADMISSION, BODY_BYTES, CHAT, CHAT_REQUEST_READER, LINKS, REQUEST_LIFECYCLE
from services.gateway.http.chat_request_reader import ChatRequestReader
from services.gateway.http.handlers.chat import (
    JSON_TYPE,
    LARGE_BODY,
    answer_headers,
    stream_headers,
)
from services.gateway.http.middlewares import CLIENT_GONE
from services.gateway.http.request_lifecycle import RequestLifecycle
from services.gateway.limits.admission import Admission
from services.gateway.limits.body_bytes import BodyBytes
from services.gateway.request_context import RequestContext
from shared.fast_path import Handler, PlainRequest, PlainResponse, ResponseWriter
from shared.schemas.chat import ChatRequest

PATHS = ("/v1/chat/completions", "/chat/completions")
MAX_BODY_BYTES = LARGE_BODY - 1


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


def plain_routes(app: web.Application) -> dict[bytes, Handler]:
    """Return what lanes answer of an application, by request line."""
    chat = FastChat(
        app[REQUEST_LIFECYCLE],
        app[CHAT_REQUEST_READER],
        app[CHAT],
        app[LINKS],
        admission=app[ADMISSION],
        bytes_in_work=app[BODY_BYTES],
    )
    return {f"POST {path} HTTP/1.1".encode(): partial(chat.answer, path) for path in PATHS}


def accepts(request: PlainRequest) -> bool:
    """Return whether a request is in JSON and nothing else."""
    return request.headers.get("content-type") == JSON_TYPE


class FastChat:
    """Answers chat requests that a lane has read."""

    def __init__(
        self,
        door: RequestLifecycle,
        asking: ChatRequestReader,
        chat: RouteChat,
        links: SignedLinks,
        *,
        admission: Admission,
        bytes_in_work: BodyBytes,
    ) -> None:
        self._door = door
        self._admission = admission
        self._bytes = bytes_in_work
        self._asking = asking
        self._chat = chat
        self._links = links

    async def answer(self, route: str, request: PlainRequest) -> PlainResponse | None:
        """Return a whole answer, or what an error answers; None where it was streamed."""
        visit = self._door.enter(PlainHeaders(request.headers))
        status = 500
        try:
            answer = await self._answer(visit, route, request)
            status = 200 if answer is None else answer.status
        except asyncio.CancelledError:
            status = CLIENT_GONE
            raise
        finally:
            self._door.leave(visit, hdrs.METH_POST, route, status)
        return answer

    async def _answer(self, visit: RequestContext, route: str, request: PlainRequest) -> PlainResponse | None:
        try:
            self._door.admit(visit, route)
            owner = visit.caller.owner
            await self._admission.enter(owner)
            try:
                self._bytes.hold(visit, len(request.body))
                asked = self._asking.read(visit, request.body)
                if asked.stream:
                    await self._stream(visit, asked, request.writer)
                    return None
                done = await self._chat.complete(await self._chat.route(visit, asked))
            finally:
                self._bytes.release(visit)
                self._admission.leave(owner)
            headers = answer_headers(visit, done, self._links)
            headers |= self._door.headers(visit, hdrs.METH_POST)
            return PlainResponse(200, headers, done.answer.body)
        except Exception as error:  # noqa: BLE001 - the edge of the service
            response = self._door.refused(visit, error, route)
            content = response.body if isinstance(response.body, bytes) else b""
            return PlainResponse(
                response.status, {**response.headers, **self._door.headers(visit, hdrs.METH_POST)}, content
            )

    async def _stream(self, visit: RequestContext, asked: ChatRequest, writer: ResponseWriter) -> None:
        async def begin(opened: OpenStream) -> ResponseWriter:
            headers = stream_headers(visit, opened, self._links)
            writer.begin(200, headers | self._door.headers(visit, hdrs.METH_POST))
            return writer

        async with self._chat.stream(await self._chat.route(visit, asked), begin) as opened:
            writer.end(await opened.pour())
