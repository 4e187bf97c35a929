"""JSON schemas of the contract that are too long for its table of operations."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_BOOLEAN: Schema = {"type": "boolean"}
_STRINGS: Schema = {"type": "array", "items": STRING}


def object_of(required: str = "", **properties: Schema) -> Schema:
    """Return the schema of an object that may have more than the named properties."""
    return {"type": "object", "properties": properties, "required": required.split(), "additionalProperties": True}


def _map_of(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


_PART = object_of(
    "status latency_ms version detail",
    status={"type": "string", "enum": ["ok", "degraded", "down", "unknown"]},
    latency_ms=_or_null(_NUMBER), version=_or_null(STRING), detail=_or_null(STRING),
)  # fmt: skip

HEALTH = object_of(
    "status",
    status={"type": "string", "enum": ["ok", "degraded"]},
    version=STRING,
    draining=_BOOLEAN,
    parts=_map_of(_PART),
    exploration=object_of(
        "on spent_usd budget_usd", on=_BOOLEAN, spent_usd=_NUMBER, budget_usd=_or_null(_NUMBER)
    ),
    arms=_map_of(
        object_of(
            "circuit rests_s found_by refuses",
            circuit={"type": "string", "enum": ["closed", "open", "half_open"]},
            rests_s=_NUMBER, found_by=_STRINGS,
            refuses=_map_of(object_of("lasts_s", lasts_s=_NUMBER, tokens=_NUMBER)),
        )
    ),
    arm_list=object_of(
        "arms added removed refused free",
        arms=_STRINGS, added=_STRINGS, removed=_STRINGS, refused=_BOOLEAN, free=_or_null(_STRINGS),
    ),
    unlisted=_STRINGS,
    default_model=object_of(
        "configured used replaced",
        configured=STRING, used=_or_null(STRING), replaced=_BOOLEAN,
        usd_per_million_prompt_tokens=_or_null(_NUMBER), usd_per_million_completion_tokens=_or_null(_NUMBER),
    ),
    gateways=_map_of(object_of("said_s_ago behind", said_s_ago=_NUMBER, behind=_BOOLEAN)),
    background=_map_of(
        object_of(
            "restarts error last_step_s_ago step_takes_s",
            restarts={"type": "integer"}, error=_or_null(STRING),
            last_step_s_ago=_or_null(_NUMBER), step_takes_s=_or_null(_NUMBER),
        )
    ),
)  # fmt: skip
"""What `GET /health` tells operators; strangers and users hear `status` alone."""
