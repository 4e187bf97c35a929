"""`GET /stats`, `GET /posteriors`: traffic and beliefs over time. `GET /spend`: what each key used, by day."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from aiohttp import hdrs, web
from multidict import MultiMapping

from services.gateway.http.app_keys import PAST_POSTERIORS, QUOTAS, REQUEST_CONTEXT, SETTINGS, TRAFFIC
from services.gateway.http.handlers import json_response, read_stored
from services.gateway.http.openapi_queries import (
    MAX_POINTS,
    MAX_STATS_MINUTES,
    SPEND_QUERY,
    STATS_QUERY,
    USUAL_DAYS,
    USUAL_MINUTES,
)
from services.gateway.http.query import bad_value, parameters, whole_number
from shared.bandit.sums import NANO
from shared.schemas.quota import Limits

TIMEOUT_S = 5.0
COLUMNS = ("day", "owner", "requests", "prompt_tokens", "completion_tokens", "unknown_costs", "cost_usd")
MINUTES_KEPT = 1440
"""Minutes for which there are figures of single minutes."""


async def stats(request: web.Request) -> web.Response:
    """Show figures of all traffic: in all, by model, and in steps."""
    reading = request.app[TRAFFIC].stats(*_time(request.query))
    return json_response(await read_stored(reading, "Figures", TIMEOUT_S))


async def posteriors(request: web.Request) -> web.Response:
    """Show what was believed of the quality of each model over time."""
    reading = request.app[PAST_POSTERIORS].over_time(*_time(request.query))
    return json_response(await read_stored(reading, "Posteriors", TIMEOUT_S))


async def spend(request: web.Request) -> web.Response:
    """Show what the caller's key used on each day, or with an admin key what all did; CSV if it is asked for."""
    given = parameters(request.query, SPEND_QUERY)
    most = max(1, request.app[SETTINGS].STATS_DAYS)
    days = whole_number(given, "days", default=min(USUAL_DAYS, most), low=1, high=most)
    reading = request.app[TRAFFIC].spending(request[REQUEST_CONTEXT].caller.scope, days)
    rows = await read_stored(reading, "Figures", TIMEOUT_S)
    if "text/csv" in request.headers.get(hdrs.ACCEPT, "").lower():
        return web.Response(text=_csv(rows), content_type="text/csv")
    limits = {owner: _limits(request.app[QUOTAS].limits(owner)) for owner in sorted({row["owner"] for row in rows})}
    return json_response({"object": "list", "data": rows, "limits": limits})


def _time(query: MultiMapping[str]) -> tuple[int, int]:
    """Return the minutes to show and the minutes of a step. Raises InvalidRequest."""
    given = parameters(query, STATS_QUERY)
    minutes = whole_number(given, "minutes", default=USUAL_MINUTES, low=1, high=MAX_STATS_MINUTES)
    usual = 1 if minutes <= MINUTES_KEPT else 60
    step = whole_number(given, "step", default=usual, low=1, high=MAX_STATS_MINUTES)
    if minutes > step * MAX_POINTS:
        raise bad_value("step", f"at least {-(-minutes // MAX_POINTS)} for so many minutes")
    if minutes > MINUTES_KEPT and step % 60:
        raise bad_value("step", f"a multiple of 60 for more than {MINUTES_KEPT} minutes")
    return minutes, step


def _limits(limits: Limits) -> dict[str, float | None]:
    """Return the limits of a key; None where there is none."""
    return {
        "requests_per_minute": limits.requests or None,
        "tokens_per_minute": limits.tokens or None,
        "usd_per_day": limits.nano_usd / NANO or None,
    }


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
