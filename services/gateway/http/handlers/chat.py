"""`POST /chat/completions` by aiohttp, and `POST /route`, which decides without a call and without a record."""

from __future__ import annotations

from functools import partial
from typing import Any

from aiohttp import web

from services.gateway.chat.selection import Choice
from services.gateway.http.app_keys import CHAT, REQUEST_CONTEXT, SELECTOR, SETTINGS
from services.gateway.http.handlers import json_response
from services.gateway.http.handlers.records import decision_as_json
from services.gateway.http.request_body import read_body
from shared.schemas.upstream import Sink


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


async def chat(request: web.Request) -> web.StreamResponse:
    """Route a chat completion and answer it; it is recorded before the last byte is sent."""
    context, handler = request[REQUEST_CONTEXT], request.app[CHAT]
    asked = await handler.read(context, await read_body(request, request.app[SETTINGS]))
    if not asked.stream:
        headers, body = await handler.respond(context, asked)
        return web.Response(body=body, headers=headers)
    response = web.StreamResponse()
    await handler.stream(context, asked, partial(begin_stream, request, response), response.write_eof)
    return response


async def begin_stream(request: web.Request, response: web.StreamResponse, headers: dict[str, str]) -> Sink:
    """Send the headers of a streamed response; return where its events go."""
    response.headers.update(headers)
    await response.prepare(request)
    return _Paced(response)


async def dry_run(request: web.Request) -> web.Response:
    """Decide as a chat request would, with a draw of its own; nothing is called, reserved or recorded."""
    context, selector = request[REQUEST_CONTEXT], request.app[SELECTOR]
    asked = await request.app[CHAT].read(context, await read_body(request, request.app[SETTINGS]))
    choice = await selector.choose(context, asked, selector.candidates(asked))
    context.log_fields.update(model=choice.decision.arm, decision=choice.decision.kind.value)
    return json_response(_as_json(choice))


def _as_json(choice: Choice) -> dict[str, Any]:
    decision, shadow = choice.decision, choice.shadow
    view = decision.view(decision.arm)
    return {
        "object": "decision",
        "model": decision.arm,
        "order": choice.order,
        "expected_cost_usd": None if view is None else view.cost_usd,
        "expected_latency_s": None if view is None else view.latency_s,
        "embedding_model": choice.gathered.embedding_model,
        "traits": choice.gathered.context.traits,
        "decision": decision_as_json(decision),
        "shadow": None if shadow is None else decision_as_json(shadow),
    }
