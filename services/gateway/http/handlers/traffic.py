"""`GET /stats`: figures of the traffic over time. `GET /spend`: what each key used, by day."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from aiohttp import hdrs, web

from services.gateway.http.app_keys import REQUEST_CONTEXT, SETTINGS, TRAFFIC
from services.gateway.http.handlers import json_response
from services.gateway.http.openapi_queries import (
    MAX_POINTS,
    MAX_STATS_MINUTES,
    SPEND_QUERY,
    STATS_QUERY,
    USUAL_DAYS,
    USUAL_MINUTES,
)
from services.gateway.http.query import bad_value, parameters, whole_number
from shared.errors import DependencyError, Unavailable

T = TypeVar("T")

TIMEOUT_S = 5.0
COLUMNS = ("day", "owner", "requests", "prompt_tokens", "completion_tokens", "unknown_costs", "cost_usd")
MINUTES_KEPT = 1440
"""Minutes for which there are figures of single minutes."""


async def stats(request: web.Request) -> web.Response:
    """Show figures of all traffic: in all, by model, and in steps."""
    given = parameters(request.query, STATS_QUERY)
    minutes = whole_number(given, "minutes", default=USUAL_MINUTES, low=1, high=MAX_STATS_MINUTES)
    usual = 1 if minutes <= MINUTES_KEPT else 60
    step = whole_number(given, "step", default=usual, low=1, high=MAX_STATS_MINUTES)
    if minutes > step * MAX_POINTS:
        raise bad_value("step", f"at least {-(-minutes // MAX_POINTS)} for so many minutes")
    if minutes > MINUTES_KEPT and step % 60:
        raise bad_value("step", f"a multiple of 60 for more than {MINUTES_KEPT} minutes")
    return json_response(await _read(request.app[TRAFFIC].stats(minutes, step)))


async def spend(request: web.Request) -> web.Response:
    """Show what the caller's key used on each day, or with an admin key what all did; CSV if it is asked for."""
    given = parameters(request.query, SPEND_QUERY)
    most = max(1, request.app[SETTINGS].STATS_DAYS)
    days = whole_number(given, "days", default=min(USUAL_DAYS, most), low=1, high=most)
    rows = await _read(request.app[TRAFFIC].spending(request[REQUEST_CONTEXT].caller.scope, days))
    if "text/csv" in request.headers.get(hdrs.ACCEPT, "").lower():
        return web.Response(text=_csv(rows), content_type="text/csv")
    return json_response({"object": "list", "data": rows})


async def _read(reading: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await reading
    except (DependencyError, TimeoutError) as error:
        raise Unavailable("Figures cannot be read right now.", code="records_unavailable") from error


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
