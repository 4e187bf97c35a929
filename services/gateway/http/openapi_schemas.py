"""JSON schemas of the OpenAPI document that are too long for its table of operations."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_BOOLEAN: Schema = {"type": "boolean"}
STRINGS: Schema = {"type": "array", "items": STRING}


def object_of(required: str = "", **properties: Schema) -> Schema:
    """Return the schema of an object that may have more than the named properties."""
    return {"type": "object", "properties": properties, "required": required.split(), "additionalProperties": True}


def body_of(model: type[BaseModel]) -> Schema:
    """Return the schema of a request body from the pydantic model that checks it; other fields are allowed."""
    schema = model.model_json_schema()
    return {**_inlined(schema, schema.pop("$defs", {})), "additionalProperties": True}


def one_or_list(schema: Schema, *, most: int) -> Schema:
    """Return the schema of a value, or of a list of 1 to `most` of them."""
    return {"anyOf": [schema, {"type": "array", "items": schema, "minItems": 1, "maxItems": most}]}


def _inlined(schema: Any, definitions: Schema) -> Any:
    """Return a schema with references resolved, without pydantic's titles and defaults, `X or null` as one type."""
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema.replace(r"\z", "$") if isinstance(schema, str) else schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    plain = {
        name: _inlined(item, definitions)
        for name, item in schema.items()
        if name != "default" and not (name == "title" and isinstance(item, str))
    }
    kinds = plain.get("anyOf", [])
    if len(kinds) == 2 and kinds[1] == {"type": "null"} and "type" in kinds[0]:
        del plain["anyOf"]
        plain = or_null(kinds[0]) | plain
    return plain


def map_of(values: Schema) -> Schema:
    """Return the schema of an object with any names, and values of one kind."""
    return {"type": "object", "additionalProperties": values}


def or_null(schema: Schema) -> Schema:
    """Return the schema of a value that may be null."""
    return {**schema, "type": [schema["type"], "null"]}


_COUNT: Schema = {"type": "integer"}

_ARM_IN_KIND = object_of(
    "arm labels requests quality quality_low quality_high cost_usd utility",
    arm=STRING, labels=_NUMBER, requests=_NUMBER, quality=_NUMBER, quality_low=_NUMBER, quality_high=_NUMBER,
    cost_usd=or_null(_NUMBER), utility=_NUMBER,
)  # fmt: skip
_EXAMPLE = object_of(
    "request_id similarity prompt", request_id=STRING, similarity=_NUMBER, prompt=or_null(STRING)
)  # fmt: skip
KIND = object_of(
    "object id size requests labels share best examples words arms",
    object=STRING, id=STRING, size=_COUNT, requests=_NUMBER, labels=_NUMBER, share=_NUMBER,
    best=object_of("arm probability", arm=STRING, probability=_NUMBER),
    examples={"type": "array", "items": _EXAMPLE},
    words=STRINGS,
    arms={"type": "array", "items": _ARM_IN_KIND},
)  # fmt: skip
"""A kind of prompt in `GET /arms?kinds=1`."""

_PROMPTS: Schema = {"type": "string", "enum": ["stored", "not_stored", "unavailable"]}
TOKENS: Schema = {"type": "integer", "minimum": 1}
_LISTED = {
    "upstream": STRING,
    "pricing": object_of(prompt=STRING, completion=STRING, request=STRING, input_cache_read=STRING),
    "context_length": TOKENS,
    "architecture": object_of(input_modalities=STRINGS, output_modalities=STRINGS),
    "top_provider": object_of(context_length=TOKENS, max_completion_tokens=TOKENS),
    "supported_parameters": STRINGS,
}
"""Upstream, prices in USD per token, and limits of a model; what is unknown is absent."""
MODEL = object_of(
    "id object created owned_by", id=STRING, object=STRING, created={"type": "integer"}, owned_by=STRING, **_LISTED
)
_SAID = object_of(
    "scores difference difference_sd", scores=_NUMBER, difference=or_null(_NUMBER), difference_sd=or_null(_NUMBER)
)
_SOURCE = object_of(
    "source scores shift bias_sd", source=STRING, scores=_NUMBER, shift=_NUMBER, bias_sd=_NUMBER
)  # fmt: skip
_ARM = object_of("object arm sources", arm=STRING, sources=map_of(_SAID), **_LISTED)
_ESTIMATE = object_of("mean low high", mean=_NUMBER, low=_NUMBER, high=_NUMBER)
_LIFT = object_of(
    "groups quality quality_judged utility cost_usd net requests_left",
    groups=map_of(object_of("requests labels cost_usd", requests=_NUMBER, labels=_NUMBER, cost_usd=_NUMBER)),
    quality=or_null(_ESTIMATE), quality_judged=or_null(_ESTIMATE), utility=or_null(_ESTIMATE),
    cost_usd=or_null(_NUMBER), net=or_null(_NUMBER),
    requests_left=or_null(_NUMBER),
)  # fmt: skip
ARMS = object_of(
    "object snapshot data sources lift", lift=or_null(_LIFT),
    data={"type": "array", "items": _ARM}, sources={"type": "array", "items": _SOURCE},
    kinds={"type": "array", "items": KIND},
    kinds_total={"type": "integer"}, prompts=_PROMPTS,
)  # fmt: skip
DECISION = object_of(
    "kind model propensity confidence reason eligible arms neighbours searched prompt_kind terms",
    searched=or_null(_BOOLEAN),
    kind=STRING, terms=STRING, model=STRING, propensity=_NUMBER, confidence=_NUMBER, reason=STRING, eligible=STRINGS,
    prompt_kind=or_null(
        object_of(
            "id size requests_nearby labels_nearby new nearness examples",
            id=STRING, size=or_null(_COUNT), requests_nearby=or_null(_NUMBER), labels_nearby=or_null(_NUMBER),
            new=or_null(_BOOLEAN), nearness=or_null(_NUMBER), examples=STRINGS,
        )
    ),
)  # fmt: skip
"""A decision in `POST /route` and `GET /requests/{request_id}`."""

_PART = object_of(
    "status latency_ms version detail",
    status={"type": "string", "enum": ["ok", "degraded", "down", "unknown"]},
    latency_ms=or_null(_NUMBER), version=or_null(STRING), detail=or_null(STRING),
)  # fmt: skip

HEALTH = object_of(
    "status",
    status={"type": "string", "enum": ["ok", "degraded"]},
    version=STRING,
    draining=_BOOLEAN,
    parts=map_of(_PART),
    upstreams=map_of(_PART),
    exploration=object_of(
        "on spent_usd budget_usd", on=_BOOLEAN, spent_usd=_NUMBER, budget_usd=or_null(_NUMBER)
    ),
    evaluations=or_null(
        object_of(
            "judge trouble spent_usd budget_usd waiting oldest_s",
            judge=STRING, trouble=or_null(STRING), spent_usd=_NUMBER, budget_usd=_NUMBER,
            waiting={"type": "integer"}, oldest_s=_NUMBER,
        )
    ),
    arms=map_of(
        object_of(
            "circuit rests_s found_by refuses",
            circuit={"type": "string", "enum": ["closed", "open", "half_open"]},
            rests_s=_NUMBER, found_by=STRINGS,
            refuses=map_of(object_of("lasts_s", lasts_s=_NUMBER, tokens=_NUMBER)),
        )
    ),
    arm_list=object_of(
        "arms added removed refused free",
        arms=STRINGS, added=STRINGS, removed=STRINGS, refused=_BOOLEAN, free=or_null(STRINGS),
    ),
    unlisted=STRINGS,
    default_model=object_of(
        "configured used replaced",
        configured=STRING, used=or_null(STRING), replaced=_BOOLEAN,
        usd_per_million_prompt_tokens=or_null(_NUMBER), usd_per_million_completion_tokens=or_null(_NUMBER),
    ),
    gateways=map_of(object_of("said_s_ago behind", said_s_ago=_NUMBER, behind=_BOOLEAN)),
    background=map_of(
        object_of(
            "restarts error last_step_s_ago step_takes_s",
            restarts={"type": "integer"}, error=or_null(STRING),
            last_step_s_ago=or_null(_NUMBER), step_takes_s=or_null(_NUMBER),
        )
    ),
)  # fmt: skip
"""What `GET /health` tells operators; strangers and users hear `status` alone."""
