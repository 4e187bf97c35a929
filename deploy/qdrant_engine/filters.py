"""Filters: those of Qdrant's JSON filters that the router uses, as the engine's objects."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import qdrant_edge as edge

from deploy.qdrant_engine.fields import fields, items, point_id, real, text
from deploy.qdrant_engine.problems import malformed, unsupported

_TESTS = ("match", "range")


def filter_of(raw: Any) -> edge.Filter | None:
    """Translate a filter of `must` conditions; None stays None. Other clauses are refused with 501."""
    if raw is None:
        return None
    return edge.Filter(must=[_condition(each) for each in items(fields(raw, "filter", ("must",)).get("must"), "must")])


def _condition(raw: Any) -> Any:
    given = fields(raw, "condition", ("key", "has_id", *_TESTS))
    if "has_id" in given:
        fields(raw, "condition", ("has_id",))
        return edge.HasIdCondition({point_id(each) for each in items(given["has_id"], "has_id")})
    tests = [name for name in _TESTS if name in given]
    if len(tests) != 1:
        raise unsupported("a field condition without exactly one of match, range")
    name = tests[0]
    value = _match(given[name]) if name == "match" else _range(given[name])
    return edge.FieldCondition(key=text(given.get("key"), "key"), **{name: value})


def _match(raw: Any) -> Any:
    value = fields(raw, "match", ("value",)).get("value")
    if isinstance(value, bool):
        # The binding tries integers first and would match 1; a numpy bool arrives as a boolean.
        return edge.MatchValue(cast("bool", np.bool_(value)))
    if isinstance(value, str) or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return edge.MatchValue(value)
    raise malformed("match value must be a string, an integer or a boolean")


def _range(raw: Any) -> Any:
    given = fields(raw, "range", ("gt", "gte", "lt", "lte"))
    if any(isinstance(value, str) for value in given.values()):
        raise unsupported("ranges of dates")
    return edge.RangeFloat(**{name: real(value, name) for name, value in given.items()})
