"""The fast lane's way to a whole chat answer: the same door, places, use case and headers as by aiohttp.

A lane (`shared/quick_http/lane.py`) reads requests that every server reads alike. Of these it takes here what asks for
a whole answer in a body of common size; streams and everything unusual go on to aiohttp's server.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from functools import partial

from aiohttp import hdrs, web

from services.gateway.admission import Admission
from services.gateway.asking import Asking
from services.gateway.door import Door, Visit
from services.gateway.feedback_links import FeedbackLinks
from services.gateway.handlers.chat import BIG_BODY, JSON_TYPE, answer_headers, whole_answer
from services.gateway.keys import ADMISSION, ASKING, CHAT, DOOR, LINKS
from services.gateway.middlewares import CLIENT_GONE
from services.gateway.plan import ChatPorts
from shared.quick_http.lane import Answer, Handler
from shared.quick_http.plain import Question

PATHS = ("/v1/chat/completions", "/chat/completions")
MAX_BODY_BYTES = BIG_BODY - 1

_STREAMS = re.compile(rb'"stream"[ \t\r\n]*:[ \t\r\n]*[^f \t\r\n]')
_HIDDEN = re.compile(rb"\\u00[67]")
"""A Latin letter that is written as a number could hide that name."""


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
    chat = PlainChat(app[DOOR], app[ADMISSION], app[ASKING], app[CHAT], app[LINKS])
    return {f"POST {path} HTTP/1.1".encode(): partial(chat.answer, path) for path in PATHS}


def takes(question: Question) -> bool:
    """Return whether a request asks for a whole answer, in JSON and nothing else."""
    body = question.body
    return (
        question.headers.get("content-type") == JSON_TYPE
        and _STREAMS.search(body) is None
        and (b"\\u00" not in body or _HIDDEN.search(body) is None)
    )


class PlainChat:
    """Answers chat requests that a lane has read."""

    def __init__(
        self, door: Door, admission: Admission, asking: Asking, ports: ChatPorts, links: FeedbackLinks
    ) -> None:
        self._door = door
        self._admission = admission
        self._asking = asking
        self._ports = ports
        self._links = links

    async def answer(self, route: str, question: Question) -> Answer:
        """Return the answer, or what an error answers."""
        visit = self._door.enter(PlainHeaders(question.headers))
        status = 500
        try:
            answer = await self._answer(visit, route, question.body)
            status = answer.status
        except asyncio.CancelledError:
            status = CLIENT_GONE
            raise
        finally:
            self._door.leave(visit, hdrs.METH_POST, route, status)
        return answer

    async def _answer(self, visit: Visit, route: str, body: bytes) -> Answer:
        try:
            self._door.admit(visit, route)
            owner = visit.caller.owner
            await self._admission.enter(owner)
            try:
                asked, asker = self._asking.read(visit, body)
                done = await whole_answer(asked, asker, self._ports)
            finally:
                self._admission.leave(owner)
            headers = answer_headers(visit, done, self._links)
            headers |= self._door.headers(visit, hdrs.METH_POST)
            return Answer(200, headers, done.answer.body)
        except Exception as error:  # noqa: BLE001 - the edge of the service
            response = self._door.refused(visit, error, route)
            content = response.body if isinstance(response.body, bytes) else b""
            return Answer(response.status, {**response.headers, **self._door.headers(visit, hdrs.METH_POST)}, content)
