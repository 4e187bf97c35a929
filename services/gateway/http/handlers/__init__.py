"""HTTP handlers: parse the request, call the use case, render the answer."""

from __future__ import annotations

import orjson
from aiohttp import web


def json_response(content: object, status: int = 200) -> web.Response:
    """Return a response with a JSON body."""
    return web.Response(status=status, body=orjson.dumps(content), content_type="application/json")
