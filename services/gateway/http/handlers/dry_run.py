"""`POST /route`: what would be chosen and why, without asking a model and without leaving a trace."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from services.gateway.chat.route_chat import Considered, consider
from services.gateway.chat.selection import wish_of
from services.gateway.http.app_keys import CHAT, REQUEST_CONTEXT
from services.gateway.http.handlers.chat import read_chat
from services.gateway.http.handlers.records import decision_story


async def dry_run(request: web.Request) -> web.Response:
    """Decide as a chat request would, with a draw of its own; nothing is called, reserved or recorded."""
    ports = request.app[CHAT]
    asked = await read_chat(request)
    considered = await consider(asked, wish_of(asked, ports), request[REQUEST_CONTEXT], ports)
    decision = considered.choice.decision
    request[REQUEST_CONTEXT].log_fields.update(model=decision.arm, decision=decision.kind.value)
    return web.Response(body=orjson.dumps(_story(considered)), content_type="application/json")


def _story(considered: Considered) -> dict[str, Any]:
    decision, shadow = considered.choice.decision, considered.choice.shadow
    view = decision.view(decision.arm)
    return {
        "object": "decision",
        "model": decision.arm,
        "order": considered.order,
        "expected_cost_usd": None if view is None else view.cost_usd,
        "expected_latency_s": None if view is None else view.latency_s,
        "embedding_model": considered.gathered.embedding_model,
        "decision": decision_story(decision),
        "shadow": None if shadow is None else decision_story(shadow),
    }
