"""Query parameters of the OpenAPI document, by path without `/v1`. The handlers refuse any other."""

from __future__ import annotations

from services.gateway.http.openapi_schemas import Schema
from shared.bandit.kinds import MAX_KINDS
from shared.schemas.records import Status

USUAL_KINDS = 20
"""Kinds that `GET /arms?kinds=1` shows without `limit`."""

USUAL_LISTED, MAX_LISTED = 50, 200
"""Requests that `GET /requests` shows without `limit`, and at most."""

USUAL_MINUTES, MAX_STATS_MINUTES, MAX_POINTS = 60, 400 * 1440, 1440
"""Minutes that `GET /stats` shows without `minutes`, and at most; and most points of time."""

USUAL_DAYS = 7
"""Days that `GET /spend` shows without `days`."""

_FLAG: Schema = {"type": "string", "enum": ["0", "1"]}
_TEXT: Schema = {"type": "string"}

KINDS_QUERY: dict[str, Schema] = {
    "kinds": _FLAG,
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_KINDS, "default": USUAL_KINDS},
}
LIST_QUERY: dict[str, Schema] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LISTED, "default": USUAL_LISTED},
    "before": {"type": "string", "format": "uuid"},
    "arm": _TEXT,
    "kind": {"type": "string", "pattern": r"^\d{1,9}\.\d{1,9}$"},
    "status": {"type": "string", "enum": list(Status)},
    "rated": _FLAG,
    "session": _TEXT,
    "owner": {"type": "string", "pattern": "^([0-9a-f]{16}|public)$"},
}
STATS_QUERY: dict[str, Schema] = {
    "minutes": {"type": "integer", "minimum": 1, "maximum": MAX_STATS_MINUTES, "default": USUAL_MINUTES},
    "step": {"type": "integer", "minimum": 1, "maximum": MAX_STATS_MINUTES},
}
SPEND_QUERY: dict[str, Schema] = {"days": {"type": "integer", "minimum": 1, "default": USUAL_DAYS}}

DEAD_QUERY: dict[str, Schema] = {"limit": LIST_QUERY["limit"]}

QUERIES = {
    "/arms": KINDS_QUERY,
    "/requests": LIST_QUERY,
    "/stats": STATS_QUERY,
    "/posteriors": STATS_QUERY,
    "/spend": SPEND_QUERY,
    "/dead-letters": DEAD_QUERY,
}
