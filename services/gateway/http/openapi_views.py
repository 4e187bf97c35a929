"""JSON schemas of the views of traffic and settings, for the OpenAPI document."""

from __future__ import annotations

from services.gateway.http.openapi_schemas import STRING, Schema, map_of, object_of, or_null
from services.gateway.process.traffic_figures import COUNTS, SPENT
from shared.posterior_history import PastPosterior
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

_QUANTILES = object_of("p50 p95", p50=_MAYBE_NUMBER, p95=_MAYBE_NUMBER)
_COUNTS = dict.fromkeys(COUNTS, _COUNT)
_FIGURES = object_of(
    " ".join((*COUNTS, "cost_usd scores overhead_ms upstream_ms")),
    **_COUNTS, cost_usd=_NUMBER, overhead_ms=_QUANTILES, upstream_ms=_QUANTILES,
    scores=map_of(object_of("count mean", count=_COUNT, mean=_NUMBER)),
)  # fmt: skip
STATS = object_of(
    "object from to step_s total expected arms data",
    **{"object": STRING, "from": _COUNT, "to": _COUNT, "step_s": _COUNT, "total": _FIGURES, "arms": map_of(_FIGURES)},
    expected=or_null(
        object_of(
            "decisions regret best_fixed lift lift_over",
            decisions=_COUNT, regret=_NUMBER, best_fixed=_MAYBE_TEXT, lift=_MAYBE_NUMBER, lift_over=map_of(_NUMBER),
        )
    ),
    data={"type": "array", "items": object_of("at total arms", at=_COUNT, total=_FIGURES, arms=map_of(_FIGURES))},
)  # fmt: skip
"""`GET /stats`."""

POSTERIORS = object_of(
    "object from to step_s data",
    **{"object": STRING, "from": _COUNT, "to": _COUNT, "step_s": _COUNT},
    data={
        "type": "array",
        "items": object_of(
            "at arms", at=_COUNT,
            arms=map_of(object_of(" ".join(PastPosterior.__struct_fields__),
                                  **dict.fromkeys(PastPosterior.__struct_fields__, _NUMBER))),
        ),
    },
)  # fmt: skip
"""`GET /posteriors`."""

SPEND = object_of(
    "object data limits", object=STRING,
    limits=map_of(object_of(
        "requests_per_minute tokens_per_minute usd_per_day",
        requests_per_minute=_MAYBE_NUMBER, tokens_per_minute=_MAYBE_NUMBER, usd_per_day=_MAYBE_NUMBER,
    )),
    data={
        "type": "array",
        "items": object_of(
            "object day owner requests prompt_tokens completion_tokens unknown_costs cost_usd",
            object=STRING, day=STRING, owner=STRING, cost_usd=_NUMBER, **dict.fromkeys(SPENT, _COUNT),
        ),
    },
)  # fmt: skip
"""`GET /spend`."""

DEAD_LETTERS = object_of(
    "object total data", object=STRING, total=_COUNT,
    data={
        "type": "array",
        "items": object_of(
            "object id kind request_id revision reason",
            object=STRING, id=STRING, kind=STRING, request_id=STRING, revision=_COUNT, reason=STRING,
        ),
    },
)  # fmt: skip
"""`GET /dead-letters`."""
