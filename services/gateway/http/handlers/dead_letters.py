"""`GET /dead-letters`: events that could not be applied. `POST /dead-letters/requeue`: moves them back."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from services.gateway.http.app_keys import EVENT_QUEUE, REQUEST_CONTEXT
from services.gateway.http.handlers import json_response, read_stored
from services.gateway.http.openapi_queries import DEAD_QUERY, MAX_LISTED, USUAL_LISTED
from services.gateway.http.query import parameters, whole_number
from shared.dead_letters import requeue
from shared.errors import DependencyError, Unavailable
from shared.logs import get_logger
from shared.schemas.storage import DeadLetter

TIMEOUT_S = 3.0

_log = get_logger(__name__)


async def dead_letters(request: web.Request) -> web.Response:
    """Show the oldest dead letters with their reasons, and how many there are."""
    given = parameters(request.query, DEAD_QUERY)
    limit = whole_number(given, "limit", default=USUAL_LISTED, low=1, high=MAX_LISTED)
    queue = request.app[EVENT_QUEUE]
    reading = asyncio.gather(queue.dead(limit), queue.depth())
    letters, depth = await read_stored(reading, "Dead letters", TIMEOUT_S)
    return json_response({"object": "list", "total": depth.dead, "data": [_letter(letter) for letter in letters]})


async def requeue_all(request: web.Request) -> web.Response:
    """Move all dead letters back to the events to learn. What has been learned already is not learned again."""
    parameters(request.query, ())
    try:
        async with asyncio.timeout(TIMEOUT_S):
            moved = await requeue(request.app[EVENT_QUEUE])
    except (DependencyError, TimeoutError) as error:
        raise Unavailable("Not all dead letters were moved. Try again.", code="dependency_unavailable") from error
    _log.info("dead letters requeued", events=moved, by=request[REQUEST_CONTEXT].caller.owner)
    return json_response({"object": "requeued", "requeued": moved})


def _letter(letter: DeadLetter) -> dict[str, Any]:
    event = letter.event
    return {
        "object": "dead_letter",
        "id": event.entry_id,
        "kind": event.kind,
        "request_id": event.request_id,
        "revision": event.revision,
        "reason": letter.reason,
    }
