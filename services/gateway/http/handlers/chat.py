"""`POST /chat/completions` and `/v1/chat/completions`."""

from __future__ import annotations

import asyncio

from aiohttp import web

from services.gateway.chat.route_chat import Completed
from services.gateway.chat.streaming import OpenStream
from services.gateway.feedback.signed_links import SignedLinks
from services.gateway.http.app_keys import (
    BODY_BYTES,
    CHAT,
    CHAT_REQUEST_READER,
    LINKS,
    PARSING,
    REQUEST_CONTEXT,
    SETTINGS,
)
from services.gateway.http.chat_request_reader import ChatRequestReader
from services.gateway.http.request_body import read_body
from services.gateway.limits.admission import memory_of
from services.gateway.request_context import RequestContext
from shared.bandit.arms import ArmId
from shared.bandit.decision import Decision
from shared.errors import Unavailable
from shared.schemas.chat import ChatRequest
from shared.schemas.upstream import Sink

JSON_TYPE = "application/json"
_EVENT_STREAM = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx would hold events back
}

LARGE_BODY = 131_072
"""Bytes of a body from which it is parsed in a thread: a smaller one takes about a millisecond."""


async def read_chat(request: web.Request) -> ChatRequest:
    """Return the chat request of a body. Raises InvalidRequest and what `read_body` raises.

    A large body is parsed in a thread, one at a time: no step of the parser holds the interpreter for long, but all of
    them together would delay every other request, and so would two threads that take turns.
    """
    raw, context = await read_body(request, request.app[SETTINGS]), request[REQUEST_CONTEXT]
    reader: ChatRequestReader = request.app[CHAT_REQUEST_READER]
    if len(raw) < LARGE_BODY:
        return reader.read(context, raw)
    context.body_read_at = reader.now()
    async with request.app[PARSING]:
        parsed = [await asyncio.to_thread(_parsed, reader, raw)]
    del raw
    chat, memory = parsed.pop()
    try:
        request.app[BODY_BYTES].hold(context, memory)
    except Unavailable:
        del chat  # the error keeps this frame
        raise
    reader.complete(context, chat)
    return chat


def _parsed(reader: ChatRequestReader, raw: bytes) -> tuple[ChatRequest, int]:
    chat = reader.parse(raw)
    return chat, memory_of(raw, chat.body)


async def chat(request: web.Request) -> web.StreamResponse:
    """Route a chat completion and answer it; it is recorded before the last byte leaves."""
    asked, context = await read_chat(request), request[REQUEST_CONTEXT]
    if asked.stream:
        return await _stream(request, asked)
    use_case = request.app[CHAT]
    done = await use_case.complete(await use_case.route(context, asked))
    return web.Response(body=done.answer.body, headers=answer_headers(context, done, request.app[LINKS]))


def answer_headers(context: RequestContext, done: Completed, links: SignedLinks) -> dict[str, str]:
    """Return the headers of a whole answer."""
    outcome = done.served.outcome
    headers = _headers(context, done.served.decision, outcome.arm, outcome.overhead_s, links)
    if done.degraded:
        headers["x-router-degraded"] = ",".join(done.degraded)
    if outcome.cost_usd is not None:
        headers["x-router-cost-usd"] = f"{outcome.cost_usd:.9f}"
    headers["Content-Type"] = JSON_TYPE
    return headers


def stream_headers(context: RequestContext, opened: OpenStream, links: SignedLinks) -> dict[str, str]:
    """Return the headers of a streamed answer."""
    return _headers(context, opened.decision, opened.arm, opened.overhead_s, links) | _EVENT_STREAM


class _Paced:
    """aiohttp's response as a `Sink`: `flush` writes what was put, for writing may have to wait."""

    def __init__(self, response: web.StreamResponse) -> None:
        self._response = response
        self._pieces: list[bytes] = []

    def put(self, piece: bytes) -> bool:
        self._pieces.append(piece)
        return False

    async def flush(self) -> None:
        pieces, self._pieces = self._pieces, []
        if pieces:
            await self._response.write(b"".join(pieces))


async def _stream(request: web.Request, asked: ChatRequest) -> web.StreamResponse:
    response = web.StreamResponse()

    async def begin(opened: OpenStream) -> Sink:
        response.headers.update(stream_headers(request[REQUEST_CONTEXT], opened, request.app[LINKS]))
        await response.prepare(request)
        return _Paced(response)

    use_case = request.app[CHAT]
    plan = await use_case.route(request[REQUEST_CONTEXT], asked)
    async with use_case.stream(plan, begin) as opened:
        await response.write_eof(await opened.pour())
    return response


def _headers(
    context: RequestContext, decision: Decision, arm: ArmId, overhead_s: float, links: SignedLinks
) -> dict[str, str]:
    headers = {
        "x-router-model": arm,
        "x-router-decision": decision.kind,
        "x-router-propensity": f"{decision.propensity:.6g}",
        "x-router-overhead-ms": f"{overhead_s * 1000:.2f}",
    }
    if decision.degraded:
        headers["x-router-degraded"] = ",".join(decision.degraded)
    if decision.session:
        headers["x-router-session"] = "held"
    if decision.exploration != "on":
        headers["x-router-exploration"] = decision.exploration
    link = links.path(context.own_id)
    if link is not None:
        headers["x-router-feedback-url"] = link
    return headers
