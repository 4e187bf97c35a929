"""Qdrant's JSON filters as the engine's objects."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import qdrant_edge as edge

from deploy.qdrant_engine.fields import fields, items, point_ids, real, text, truth, whole
from deploy.qdrant_engine.problems import malformed, unsupported

_CLAUSES = ("must", "should", "must_not")
_FIELD_TESTS = ("match", "range", "is_empty", "is_null")


def filter_of(raw: Any) -> edge.Filter | None:
    """Translate a filter; None stays None."""
    if raw is None:
        return None
    given = fields(raw, "filter", (*_CLAUSES, "min_should"))
    clauses: dict[str, Any] = {name: _conditions(given[name]) for name in _CLAUSES if name in given}
    if "min_should" in given:
        least = fields(given["min_should"], "min_should", ("conditions", "min_count"))
        clauses["min_should"] = edge.MinShould(
            conditions=_conditions(least.get("conditions")),
            min_count=whole(least.get("min_count"), "min_count", least=0),
        )
    return edge.Filter(**clauses)


def _conditions(raw: Any) -> list[Any]:
    return [_condition(each) for each in ([raw] if isinstance(raw, dict) else items(raw, "conditions"))]


def _condition(raw: Any) -> Any:
    if not isinstance(raw, dict):
        raise malformed("a condition must be an object")
    if "key" in raw:
        return _field_condition(raw)
    if "has_id" in raw:
        return edge.HasIdCondition(set(point_ids(fields(raw, "condition", ("has_id",))["has_id"], "has_id")))
    for name, build in (("is_empty", edge.IsEmptyCondition), ("is_null", edge.IsNullCondition)):
        if name in raw:
            inner = fields(fields(raw, "condition", (name,)).get(name), name, ("key",))
            return build(text(inner.get("key"), "key"))
    if "nested" in raw:
        inner = fields(fields(raw, "condition", ("nested",)).get("nested"), "nested", ("key", "filter"))
        return edge.NestedCondition(text(inner.get("key"), "key"), filter_of(inner.get("filter")) or edge.Filter())
    return filter_of(raw)


def _field_condition(raw: dict[str, Any]) -> Any:
    given = fields(raw, "condition", ("key", *_FIELD_TESTS))
    tests = [name for name in _FIELD_TESTS if name in given]
    if len(tests) != 1:
        # Qdrant takes several tests in one condition; write them as several conditions instead.
        raise unsupported("a field condition with more or less than one test")
    name = tests[0]
    value: Any
    if name == "match":
        value = _match(given[name])
    elif name == "range":
        value = _range(given[name])
    else:
        value = truth(given[name], name)
    return edge.FieldCondition(key=text(given["key"], "key"), **{name: value})


def _match(raw: Any) -> Any:
    given = fields(raw, "match", ("value", "any", "except"))
    if len(given) != 1:
        raise malformed("match takes exactly one of value, any, except")
    if "value" in given:
        value = given["value"]
        if isinstance(value, bool):
            # The binding tries integers first and would look for 1; a numpy bool arrives as a boolean.
            return edge.MatchValue(cast("bool", np.bool_(value)))
        if isinstance(value, str) or (isinstance(value, int) and -(2**63) <= value < 2**63):
            return edge.MatchValue(value)
        raise malformed("match value must be a string, an integer or a boolean")
    name, values = next(iter(given.items()))
    values = items(values, name)
    if not (all(isinstance(each, str) for each in values) or all(type(each) is int for each in values)):
        raise malformed(f"match {name} takes only strings or only integers")
    return edge.MatchAny(values) if name == "any" else edge.MatchExcept(values)


def _range(raw: Any) -> Any:
    given = fields(raw, "range", ("gt", "gte", "lt", "lte"))
    if any(isinstance(value, str) for value in given.values()):
        raise unsupported("ranges of dates")
    return edge.RangeFloat(**{name: real(value, name) for name, value in given.items()})
