"""JSON schemas of the views of traffic and settings, for the OpenAPI document."""

from __future__ import annotations

from services.gateway.http.openapi_schemas import STRING, Schema, map_of, object_of, or_null
from shared.settings.sources import SettingSource

_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer"}
_BOOLEAN: Schema = {"type": "boolean"}
_STRINGS: Schema = {"type": "array", "items": STRING}
_MAYBE_TEXT, _MAYBE_NUMBER = or_null(STRING), or_null(_NUMBER)

_LISTED_REQUEST = object_of(
    "object id request_id created_at owner session requested_model prompt_kind prompt decision streamed attempts "
    "failed_checks scores model status latency_ms tokens cost_usd cost_source score reward",
    object=STRING, id=STRING, request_id=STRING, created_at=_NUMBER, owner=STRING, session=_MAYBE_TEXT,
    requested_model=_MAYBE_TEXT, prompt_kind=_MAYBE_TEXT, prompt=_MAYBE_TEXT,
    decision=object_of(
        "kind model propensity confidence explored session_held degraded",
        kind=STRING, model=STRING, propensity=_NUMBER, confidence=_NUMBER, explored=_BOOLEAN, session_held=_BOOLEAN,
        degraded=_STRINGS,
    ),
    streamed=_BOOLEAN, attempts=_COUNT, failed_checks={"type": ["array", "null"], "items": STRING},
    scores=map_of(_NUMBER), model=STRING, status=STRING,
    latency_ms=object_of(
        "overhead upstream first_token", overhead=_NUMBER, upstream=_NUMBER, first_token=_MAYBE_NUMBER
    ),
    tokens=object_of("prompt completion total", prompt=_COUNT, completion=_COUNT, total=_COUNT),
    cost_usd=_MAYBE_NUMBER, cost_source=STRING, score=_MAYBE_NUMBER,
    reward=or_null(
        object_of(
            "quality expected_quality latency cost total",
            quality=_MAYBE_NUMBER, expected_quality=_NUMBER, latency=_NUMBER, cost=_NUMBER, total=_MAYBE_NUMBER,
        )
    ),
)  # fmt: skip
LISTED = object_of(
    "object data next prompts",
    object=STRING, data={"type": "array", "items": _LISTED_REQUEST}, next=_MAYBE_TEXT,
    prompts={"type": "string", "enum": ["stored", "not_stored", "unavailable"]},
)  # fmt: skip
"""`GET /requests`."""

_SETTING = object_of(
    "object name value default source description",
    object=STRING, name=STRING, value=STRING, default=STRING, description=STRING,
    source={"type": "string", "enum": list(SettingSource)},
)  # fmt: skip
SETTINGS = object_of("object data", object=STRING, data={"type": "array", "items": _SETTING})
"""`GET /settings`."""
