"""`POST /embeddings`: passed to the model that the request names."""

from __future__ import annotations

import asyncio

from aiohttp import web

from services.gateway.http.app_keys import CHAT, EMBEDDINGS, REQUEST_CONTEXT, SETTINGS
from services.gateway.http.chat_handler import IGNORED, JSON_TYPE, LARGE_BODY
from services.gateway.http.request_body import read_body
from shared.schemas.embedding_request import parse_embedding


async def embeddings(request: web.Request) -> web.Response:
    """Answer a request for vectors."""
    context, raw = request[REQUEST_CONTEXT], await read_body(request, request.app[SETTINGS])
    context.body_read_at = request.app[CHAT].clock.monotonic()
    large = len(raw) >= LARGE_BODY
    asked = await asyncio.to_thread(parse_embedding, raw) if large else parse_embedding(raw)
    if asked.ignored:
        context.response_headers[IGNORED] = ", ".join(asked.ignored)
    done = await request.app[EMBEDDINGS].answer(context, asked)
    headers = {"Content-Type": JSON_TYPE, "x-router-model": done.outcome.arm}
    if done.outcome.cost_usd is not None:
        headers["x-router-cost-usd"] = f"{done.outcome.cost_usd:.9f}"
    return web.Response(body=done.answer.body, headers=headers)
