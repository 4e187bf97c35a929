"""`POST /chat/completions` and `/v1/chat/completions`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from services.gateway.chat.plan import ChatPorts
from services.gateway.chat.route_chat import Completed, complete, route
from services.gateway.chat.streaming import Begin, OpenStream, open_stream
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
from services.gateway.limits.body_bytes import memory_of
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

BIG_BODY = 131_072
"""Up to this, parsing takes less than handing it to a thread and back is worth: about a millisecond."""


async def read_chat(request: web.Request) -> ChatRequest:
    """Return the chat request of a body. Raises InvalidRequest and whatever `read_body` does.

    A big body is parsed in a thread, and only one at a time: no step of the parser holds the interpreter for long, but
    all of them together would let everybody else wait, and so would two threads that take turns.
    """
    raw, visit = await read_body(request, request.app[SETTINGS]), request[REQUEST_CONTEXT]
    asking: ChatRequestReader = request.app[CHAT_REQUEST_READER]
    if len(raw) < BIG_BODY:
        return asking.read(visit, raw)
    visit.body_read_at = asking.now()
    async with request.app[PARSING]:
        parsed = [await asyncio.to_thread(_parsed, asking, raw)]
    del raw
    chat, memory = parsed.pop()
    try:
        request.app[BODY_BYTES].hold(visit, memory)
    except Unavailable:
        del chat  # the error keeps this frame
        raise
    asking.complete(visit, chat)
    return chat


def _parsed(asking: ChatRequestReader, raw: bytes) -> tuple[ChatRequest, int]:
    chat = asking.parse(raw)
    return chat, memory_of(raw, chat.body)


async def chat(request: web.Request) -> web.StreamResponse:
    """Route a chat completion, answer it, and have it recorded before the last byte leaves."""
    ports, links = request.app[CHAT], request.app[LINKS]
    asked = await read_chat(request)
    if asked.stream:
        return await _stream(request, asked)
    done = await whole_answer(asked, request[REQUEST_CONTEXT], ports)
    headers = answer_headers(request[REQUEST_CONTEXT], done, links)
    return web.Response(body=done.answer.body, headers=headers)


async def whole_answer(asked: ChatRequest, visit: RequestContext, ports: ChatPorts) -> Completed:
    """Route a chat completion that is not streamed; return the answer, recorded."""
    return await complete(await route(asked, visit, ports), ports)


def answer_headers(visit: RequestContext, done: Completed, links: SignedLinks) -> dict[str, str]:
    """Return the headers of a whole answer."""
    outcome = done.served.outcome
    headers = _headers(visit, done.served.decision, outcome.arm, outcome.overhead_s, links)
    if done.degraded:
        headers["x-router-degraded"] = ",".join(done.degraded)
    if outcome.cost_usd is not None:
        headers["x-router-cost-usd"] = f"{outcome.cost_usd:.9f}"
    headers["Content-Type"] = JSON_TYPE
    return headers


@asynccontextmanager
async def streamed_answer(
    asked: ChatRequest, visit: RequestContext, ports: ChatPorts, begin: Begin
) -> AsyncIterator[OpenStream]:
    """Route a chat completion that is streamed; yield the answer once its first event is here."""
    async with open_stream(await route(asked, visit, ports), ports, begin) as opened:
        yield opened


def stream_headers(visit: RequestContext, opened: OpenStream, links: SignedLinks) -> dict[str, str]:
    """Return the headers of a streamed answer."""
    return _headers(visit, opened.decision, opened.arm, opened.journal.overhead_s, links) | _EVENT_STREAM


class _Paced:
    """aiohttp's answer as a `Sink`: what is put is written by `flush`, for writing may have to wait."""

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

    try:
        async with streamed_answer(asked, request[REQUEST_CONTEXT], request.app[CHAT], begin) as opened:
            await response.write_eof(await opened.pour())
    except ConnectionResetError:
        # The client is gone; leaving `open_stream` by the error stopped the upstream and wrote down what was spent.
        request[REQUEST_CONTEXT].log_fields["error"] = "client_gone"
    return response


def _headers(
    visit: RequestContext, decision: Decision, arm: ArmId, overhead_s: float, links: SignedLinks
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
    link = links.path(visit.own_id)
    if link is not None:
        headers["x-router-feedback-url"] = link
    return headers
