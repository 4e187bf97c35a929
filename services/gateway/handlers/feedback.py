"""`POST /feedback`."""

from __future__ import annotations

import orjson
from aiohttp import web

from services.gateway.json_body import read_body
from services.gateway.keys import CALLER, CHAT, LINE, METRICS, SETTINGS
from services.gateway.record_feedback import record_feedback
from shared.schemas.feedback import parse_feedback
from shared.schemas.storage import Verdict


async def feedback(request: web.Request) -> web.Response:
    """Take a rating; 202 is the promise that it changes the posterior exactly once."""
    ports = request.app[CHAT]
    rating = parse_feedback(await read_body(request, request.app[SETTINGS]))
    request[LINE].update(rated=rating.request_id, score=rating.score)
    verdict = await record_feedback(
        rating,
        owner=request[CALLER].scope,
        log=ports.log,
        recorder=ports.recorder,
        clock=ports.clock,
        metrics=request.app[METRICS],
    )
    request[LINE]["verdict"] = verdict.value
    body = {"status": "accepted", "request_id": rating.request_id, "duplicate": verdict is Verdict.DUPLICATE}
    return web.Response(status=202, body=orjson.dumps(body), content_type="application/json")
