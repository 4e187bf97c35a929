"""JSON schemas: an example value for one, and one that a prompt contains as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

MAX_DEPTH = 8
_SEARCHED = 8
"""Places in a text where a schema may begin."""


def example_of(schema: Mapping[str, Any]) -> Any:
    """Return a value that fits a schema, within `MAX_DEPTH`; references are looked up in the schema itself."""
    return _example(schema, schema, 0)


def schema_in(messages: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the first JSON schema of an object that is written in the messages."""
    for message in messages:
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"text": content}]
        for part in parts:
            found = _schema_in(str(part.get("text") or ""))
            if found is not None:
                return found
    return None


def _schema_in(text: str) -> Mapping[str, Any] | None:
    place = -1
    for _ in range(_SEARCHED):
        place = text.find("{", place + 1)
        if place < 0:
            return None
        try:
            value, _end = json.JSONDecoder().raw_decode(text, place)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("properties"), dict):
            return value
    return None


def _example(schema: Any, root: Mapping[str, Any], depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return None
    inner = _inner(schema, root)
    if inner is not None:
        return _example(inner, root, depth + 1)
    given = next((schema[name] for name in ("const", "default") if schema.get(name) is not None), None)
    if given is not None or schema.get("enum"):
        return schema["enum"][0] if given is None else given
    kind = schema.get("type", "")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object":
        properties = schema.get("properties") or {}
        return {key: _example(value, root, depth + 1) for key, value in properties.items()}
    if kind == "array":
        return [_example(schema.get("items"), root, depth + 1)] * int(schema.get("minItems") or 0)
    least = schema.get("minimum") or 0
    return {"integer": max(1, least), "number": max(1, least), "boolean": True, "null": None}.get(kind, "simulated")


def _inner(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Return the schema that this one stands for: what it refers to, or its first alternative."""
    if "$ref" in schema:
        return _target(str(schema["$ref"]), root)
    return next((schema[name][0] for name in ("anyOf", "oneOf", "allOf") if schema.get(name)), None)


def _target(reference: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for step in reference.removeprefix("#/").split("/"):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found
