"""`GET /models`: `auto` and every model that can be named, in OpenAI's list shape."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from services.gateway.keys import CHAT
from shared.bandit.arms import ArmId
from shared.errors import NotFound
from shared.schemas.chat import AUTO


async def models(request: web.Request) -> web.Response:
    """List `auto`, the arms that it chooses from, and the default model."""
    catalogue = request.app[CHAT].catalogue
    default = () if catalogue.default is None else (catalogue.default,)
    names = dict.fromkeys((AUTO, *catalogue.arm_ids, *default))
    return _json({"object": "list", "data": [_model(name) for name in names]})


async def model(request: web.Request) -> web.Response:
    """Show one model; any that the upstream lists may be asked for."""
    name = request.match_info["model"]
    return _json(_model(name if name == AUTO else _known(request, name)))


def _known(request: web.Request, name: str) -> ArmId:
    try:
        return request.app[CHAT].catalogue.pin(name)
    except NotFound as error:
        raise NotFound(str(error), code=error.code) from None


def _model(name: str) -> dict[str, Any]:
    owner = "llm-router" if name == AUTO else name.partition("/")[0]
    return {"id": name, "object": "model", "created": 0, "owned_by": owner}


def _json(content: object) -> web.Response:
    return web.Response(body=orjson.dumps(content), content_type="application/json")
