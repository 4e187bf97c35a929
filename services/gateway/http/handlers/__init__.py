"""HTTP handlers: parse the request, call the use case, render the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import orjson
from aiohttp import web

from shared.errors import DependencyError, Unavailable

T = TypeVar("T")


def json_response(content: object, status: int = 200) -> web.Response:
    """Return a response with a JSON body."""
    return web.Response(status=status, body=orjson.dumps(content), content_type="application/json")


async def read_stored(reading: Awaitable[T], what: str, timeout_s: float) -> T:
    """Return what a store answers. Raises Unavailable (`records_unavailable`) if it is away or slow."""
    try:
        async with asyncio.timeout(timeout_s):
            return await reading
    except (DependencyError, TimeoutError) as error:
        raise Unavailable(f"{what} cannot be read right now.", code="records_unavailable") from error
