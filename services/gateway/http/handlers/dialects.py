"""Handlers of other APIs than chat completions: `services/gateway/dialects` translates, the use case is the same.

An upstream that has the API gets the original, and its answer is passed on unchanged.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from services.gateway.dialects.dialect import Dialect, Envelope, Exchange, TranslatedSink
from services.gateway.http.app_keys import CHAT, REQUEST_CONTEXT, SETTINGS
from services.gateway.http.handlers import json_response
from services.gateway.http.handlers.chat import begin_stream
from services.gateway.http.request_body import read_body
from shared.clients.upstream_json import loads
from shared.schemas.chat import ChatRequest
from shared.schemas.upstream import Sink


def answering(dialect: Dialect) -> Handler:
    """Return the handler that answers requests in `dialect`."""

    async def answer(request: web.Request) -> web.StreamResponse:
        exchange, asked = await _read(request, dialect)
        context, handler = request[REQUEST_CONTEXT], request.app[CHAT]
        if asked.stream:
            return await _stream(request, exchange, asked)
        headers, answered = await handler.answer(context, asked)
        if answered.api == dialect.api:
            return web.Response(body=answered.body, headers=headers)
        body = exchange.answer(loads(answered.body), _envelope(request, asked, headers))
        return web.Response(body=body, headers=headers)

    return answer


def counting(dialect: Dialect) -> Handler:
    """Return the handler that estimates the tokens of a prompt in `dialect`; no model is called."""

    async def count(request: web.Request) -> web.StreamResponse:
        _, asked = await _read(request, dialect)
        return json_response({"input_tokens": asked.requirements.prompt_tokens})

    return count


async def _read(request: web.Request, dialect: Dialect) -> tuple[Exchange, ChatRequest]:
    context, handler = request[REQUEST_CONTEXT], request.app[CHAT]
    dialect.check(context.headers)
    exchange = dialect.begin()
    raw = await read_body(request, request.app[SETTINGS])
    asked = await handler.read(context, raw, exchange.chat_body)
    return exchange, dialect.original(asked, context.headers)


async def _stream(request: web.Request, exchange: Exchange, asked: ChatRequest) -> web.StreamResponse:
    response = web.StreamResponse()
    sinks: list[TranslatedSink] = []

    async def begin(headers: dict[str, str]) -> Sink:
        events = exchange.events(_envelope(request, asked, headers))
        sinks.append(TranslatedSink(events, await begin_stream(request, response, headers)))
        return sinks[0]

    async def end(piece: bytes) -> None:
        await response.write_eof(sinks[0].last(piece))

    await request.app[CHAT].stream(request[REQUEST_CONTEXT], asked, begin, end)
    return response


def _envelope(request: web.Request, asked: ChatRequest, headers: dict[str, str]) -> Envelope:
    return Envelope(
        request_id=request[REQUEST_CONTEXT].own_id,
        created_at=int(request.app[CHAT].clock.now()),
        model=headers["x-router-model"],
        prompt_tokens=asked.requirements.prompt_tokens,
    )
