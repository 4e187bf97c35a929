"""Query parameters of the OpenAPI document, by path without `/v1`. The handlers refuse any other."""

from __future__ import annotations

from services.gateway.http.openapi_schemas import Schema
from shared.bandit.kinds import MAX_KINDS
from shared.schemas.records import Status

USUAL_KINDS = 20
"""Kinds that `GET /arms?kinds=1` shows without `limit`."""

USUAL_LISTED, MAX_LISTED = 50, 200
"""Requests that `GET /requests` shows without `limit`, and at most."""

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

QUERIES = {"/arms": KINDS_QUERY, "/requests": LIST_QUERY}
