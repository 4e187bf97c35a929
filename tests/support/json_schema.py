"""Checks values against the part of JSON Schema that our contract uses."""

from __future__ import annotations

from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}
_KNOWN = {"type", "enum", "properties", "required", "additionalProperties", "items", "description"}


def faults(value: Any, schema: dict[str, Any], at: str = "$") -> list[str]:
    """Return where `value` does not fit `schema`."""
    assert schema.keys() <= _KNOWN, f"{at}: this checker does not know {schema.keys() - _KNOWN}"
    kinds = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", list(_TYPES))
    fits = any(isinstance(value, _TYPES[kind]) and isinstance(value, bool) <= (kind == "boolean") for kind in kinds)
    if not fits or ("enum" in schema and value not in schema["enum"]):
        return [f"{at}: {value!r} is not {schema.get('enum', kinds)}"]
    found: list[str] = []
    if isinstance(value, list) and "items" in schema:
        found += [one for number, item in enumerate(value) for one in faults(item, schema["items"], f"{at}[{number}]")]
    if isinstance(value, dict):
        found += [f"{at}: {name} is missing" for name in schema.get("required", ()) if name not in value]
        rest = schema.get("additionalProperties", True)
        for name, item in value.items():
            inner = schema.get("properties", {}).get(name, rest)
            if inner is False:
                found.append(f"{at}: {name} is not described")
            elif isinstance(inner, dict):
                found += faults(item, inner, f"{at}.{name}")
    return found
