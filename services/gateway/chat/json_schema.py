"""Subset of JSON Schema for the check of answers: what structured outputs and tools are described with.

Not a library: the schemas are the clients' and the check runs on the event loop. A general validator follows references
without an end, runs the client's regular expressions, and takes ten times as long. Here the steps are bounded.
Keywords that are not listed (`pattern`, `format`, `uniqueItems`, ...) allow everything.

Reference: JSON Schema, draft 2020-12, https://json-schema.org/draft/2020-12.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

MAX_STEPS = 5_000
"""Pairs of value and schema that are compared: a few milliseconds."""
MAX_DEPTH = 64


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": _is_number,
    "integer": lambda value: _is_number(value) and (isinstance(value, int) or value.is_integer()),
}


class TooComplex(Exception):
    """Error: the comparison needs more steps than allowed; nothing is known of the value."""


def fits(value: object, schema: object) -> bool:
    """Return whether `value`, parsed JSON, fits `schema`. Raises TooComplex."""
    return _Comparison(schema).fits(value, schema, 0)


class _Comparison:
    def __init__(self, root: object) -> None:
        self._root = root
        self._left = MAX_STEPS

    def fits(self, value: Any, schema: Any, depth: int) -> bool:
        self._left -= 1
        if self._left < 0 or depth > MAX_DEPTH:
            raise TooComplex
        if not isinstance(schema, dict):
            return schema is not False
        return (
            _has_type(value, schema.get("type"))
            and self._listed(value, schema)
            and _in_range(value, schema)
            and self._combined(value, schema, depth + 1)
            and (not isinstance(value, dict) or self._properties(value, schema, depth + 1))
            and (not isinstance(value, list) or self._items(value, schema, depth + 1))
        )

    def _listed(self, value: Any, schema: dict[str, Any]) -> bool:
        options = schema.get("enum")
        if isinstance(options, list):
            self._left -= len(options)
            if not any(_same(value, option) for option in options):
                return False
        return "const" not in schema or _same(value, schema["const"])

    def _combined(self, value: Any, schema: dict[str, Any], depth: int) -> bool:
        reference = schema.get("$ref")
        if isinstance(reference, str) and not self.fits(value, self._resolved(reference), depth):
            return False
        for every in _list(schema.get("allOf")):
            if not self.fits(value, every, depth):
                return False
        for name in ("anyOf", "oneOf"):  # that no second one of `oneOf` fits is not checked
            options = _list(schema.get(name))
            if options and not any(self.fits(value, one, depth) for one in options):
                return False
        return True

    def _properties(self, value: dict[str, Any], schema: dict[str, Any], depth: int) -> bool:
        required = _list(schema.get("required"))
        self._left -= len(required)
        if not all(name in value for name in required if isinstance(name, str)):
            return False
        known, others = schema.get("properties"), schema.get("additionalProperties", True)
        known = known if isinstance(known, dict) else {}
        if "patternProperties" in schema:
            others = True
        return all(self.fits(each, known.get(name, others), depth) for name, each in value.items())

    def _items(self, value: list[Any], schema: dict[str, Any], depth: int) -> bool:
        first, rest = _list(schema.get("prefixItems")), schema.get("items", True)
        return all(self.fits(each, first[at] if at < len(first) else rest, depth) for at, each in enumerate(value))

    def _resolved(self, reference: str) -> object:
        """Return the schema at a reference into this document; one that allows everything for any other."""
        if not reference.startswith("#"):
            return True
        found: Any = self._root
        for step in reference[1:].split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            found = found.get(name, True) if isinstance(found, dict) else True
        return found


def _has_type(value: Any, types: object) -> bool:
    if isinstance(types, str):
        test = _TYPES.get(types)
        return test is None or test(value)
    return not isinstance(types, list) or not types or any(_has_type(value, one) for one in types)


def _in_range(value: Any, schema: dict[str, Any]) -> bool:
    if _is_number(value):
        limits = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
        least, most, above, below = (_number(schema.get(name)) for name in limits)
        return (
            (least is None or value >= least)
            and (most is None or value <= most)
            and (above is None or value > above)
            and (below is None or value < below)
        )
    for kind, names in ((str, ("minLength", "maxLength")), (list, ("minItems", "maxItems"))):
        if isinstance(value, kind):
            least, most = (_number(schema.get(name)) for name in names)
            return (least is None or len(value) >= least) and (most is None or len(value) <= most)
    return True


def _same(value: Any, other: Any) -> bool:
    """Return whether two JSON values are equal; in JSON `true` is not 1."""
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)


def _number(limit: Any) -> float | None:
    return limit if _is_number(limit) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
