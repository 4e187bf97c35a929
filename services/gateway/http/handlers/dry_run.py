"""`POST /route`: which model would be chosen and why, without a call and without a record."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from services.gateway.chat.selection import Choice
from services.gateway.http.app_keys import REQUEST_CONTEXT, SELECTOR
from services.gateway.http.handlers.chat import read_chat
from services.gateway.http.handlers.records import decision_as_json


async def dry_run(request: web.Request) -> web.Response:
    """Decide as a chat request would, with a draw of its own; nothing is called, reserved or recorded."""
    asked, context, selector = await read_chat(request), request[REQUEST_CONTEXT], request.app[SELECTOR]
    choice = await selector.choose(context, asked, selector.candidates(asked))
    context.log_fields.update(model=choice.decision.arm, decision=choice.decision.kind.value)
    return web.Response(body=orjson.dumps(_as_json(choice)), content_type="application/json")


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
        "decision": decision_as_json(decision),
        "shadow": None if shadow is None else decision_as_json(shadow),
    }
