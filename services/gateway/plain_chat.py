"""The fast lane's way to a chat answer: the same door, places, use case and headers as by aiohttp.

A lane (`shared/quick_http/lane.py`) reads requests that every server reads alike. Of these it takes here what has a
body of common size; everything unusual goes on to aiohttp's server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from aiohttp import hdrs, web

from services.gateway.admission import Admission
from services.gateway.asking import Asking
from services.gateway.bytes_in_work import BytesInWork
from services.gateway.door import Door, Visit
from services.gateway.feedback_links import FeedbackLinks
from services.gateway.handlers.chat import (
    BIG_BODY,
    JSON_TYPE,
    answer_headers,
    stream_headers,
    streamed_answer,
    whole_answer,
)
from services.gateway.keys import ADMISSION, ASKING, BYTES_IN_WORK, CHAT, DOOR, LINKS
from services.gateway.middlewares import CLIENT_GONE
from services.gateway.plan import Asker, ChatPorts
from services.gateway.streaming import OpenStream
from shared.quick_http.lane import Answer, Handler
from shared.quick_http.outlet import Outlet
from shared.quick_http.plain import Question
from shared.schemas.chat import ChatRequest

PATHS = ("/v1/chat/completions", "/chat/completions")
MAX_BODY_BYTES = BIG_BODY - 1


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
    chat = PlainChat(
        app[DOOR],
        app[ASKING],
        app[CHAT],
        app[LINKS],
        admission=app[ADMISSION],
        bytes_in_work=app[BYTES_IN_WORK],
    )
    return {f"POST {path} HTTP/1.1".encode(): partial(chat.answer, path) for path in PATHS}


def takes(question: Question) -> bool:
    """Return whether a request is in JSON and nothing else."""
    return question.headers.get("content-type") == JSON_TYPE


class PlainChat:
    """Answers chat requests that a lane has read."""

    def __init__(
        self,
        door: Door,
        asking: Asking,
        ports: ChatPorts,
        links: FeedbackLinks,
        *,
        admission: Admission,
        bytes_in_work: BytesInWork,
    ) -> None:
        self._door = door
        self._admission = admission
        self._bytes = bytes_in_work
        self._asking = asking
        self._ports = ports
        self._links = links

    async def answer(self, route: str, question: Question) -> Answer | None:
        """Return a whole answer, or what an error answers; None where it was streamed."""
        visit = self._door.enter(PlainHeaders(question.headers))
        status = 500
        try:
            answer = await self._answer(visit, route, question)
            status = 200 if answer is None else answer.status
        except asyncio.CancelledError:
            status = CLIENT_GONE
            raise
        finally:
            self._door.leave(visit, hdrs.METH_POST, route, status)
        return answer

    async def _answer(self, visit: Visit, route: str, question: Question) -> Answer | None:
        try:
            self._door.admit(visit, route)
            owner = visit.caller.owner
            await self._admission.enter(owner)
            try:
                self._bytes.hold(visit, len(question.body))
                asked, asker = self._asking.read(visit, question.body)
                if asked.stream:
                    await self._stream(visit, asked, asker, question.outlet)
                    return None
                done = await whole_answer(asked, asker, self._ports)
            finally:
                self._bytes.release(visit)
                self._admission.leave(owner)
            headers = answer_headers(visit, done, self._links)
            headers |= self._door.headers(visit, hdrs.METH_POST)
            return Answer(200, headers, done.answer.body)
        except Exception as error:  # noqa: BLE001 - the edge of the service
            response = self._door.refused(visit, error, route)
            content = response.body if isinstance(response.body, bytes) else b""
            return Answer(response.status, {**response.headers, **self._door.headers(visit, hdrs.METH_POST)}, content)

    async def _stream(self, visit: Visit, asked: ChatRequest, asker: Asker, outlet: Outlet) -> None:
        async def begin(opened: OpenStream) -> Outlet:
            headers = stream_headers(visit, opened, self._links)
            outlet.begin(200, headers | self._door.headers(visit, hdrs.METH_POST))
            return outlet

        async with streamed_answer(asked, asker, self._ports, begin) as opened:
            outlet.end(await opened.pour())
