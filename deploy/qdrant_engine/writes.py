"""Writes: JSON bodies of upsert, delete and index creation to the engine's update operations.

Each translation is an iterator of small steps, so that other requests can be answered between two of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import qdrant_edge as edge

from deploy.qdrant_engine.fields import fields, items, point_id, text, vector
from deploy.qdrant_engine.filters import filter_of
from deploy.qdrant_engine.problems import malformed, unsupported, wrong_input

CHUNK = 8
"""Points per engine call. Parsing them takes about 0.3 ms and storing them 0.1 ms, which block the event loop; larger
calls are no cheaper per point."""

_INDEX_TYPES = {
    "keyword": edge.PayloadSchemaType.Keyword,
    "integer": edge.PayloadSchemaType.Integer,
    "bool": edge.PayloadSchemaType.Bool,
}


@dataclass(frozen=True, slots=True)
class Change:
    """One engine call, with an estimate of the points it touches, which only paces flushes."""

    operation: Any
    points: int = 1


def upsert(body: Any, size: int) -> Iterator[Change]:
    """Translate an upsert of points, in chunks."""
    rows = items(fields(body, "upsert request", ("points",)).get("points"), "points")
    if not rows:
        raise wrong_input("Empty update request")
    for start in range(0, len(rows), CHUNK):
        chunk = [_point(row, size) for row in rows[start : start + CHUNK]]
        yield Change(edge.UpdateOperation.upsert_points(chunk), len(chunk))


def _point(raw: Any, size: int) -> Any:
    given = fields(raw, "point", ("id", "vector", "payload"))
    payload = given.get("payload", {})
    if not isinstance(payload, dict):
        raise malformed("payload must be an object")
    return edge.Point(point_id(given.get("id")), vector(given.get("vector"), size), payload)


def delete(body: Any, _size: int) -> Iterator[Change]:
    """Translate a deletion by ids or by filter."""
    given = fields(body, "delete request", ("points", "filter"))
    if ("points" in given) == ("filter" in given):
        raise malformed("select by exactly one of points, filter")
    if (where := filter_of(given.get("filter"))) is not None:
        yield Change(edge.UpdateOperation.delete_points_by_filter(where))
    elif ids := [point_id(each) for each in items(given["points"], "points")]:
        yield Change(edge.UpdateOperation.delete_points([*ids]), len(ids))


def set_payload(body: Any, _size: int) -> Iterator[Change]:
    """Translate new values of payload fields, for points by filter."""
    given = fields(body, "set payload request", ("payload", "filter"))
    payload = given.get("payload")
    if not isinstance(payload, dict):
        raise malformed("payload must be an object")
    if (where := filter_of(given.get("filter"))) is None:
        raise unsupported("a selection of points without a filter")
    yield Change(edge.UpdateOperation.set_payload_by_filter(where, payload))


def create_index(body: Any, _size: int) -> Iterator[Change]:
    """Translate the creation of an index on a payload field."""
    given = fields(body, "index request", ("field_name", "field_schema"))
    schema = given.get("field_schema")
    kind = _INDEX_TYPES.get(text(schema, "field_schema"))
    if kind is None:
        raise unsupported(f"an index of type `{schema}`")
    yield Change(edge.UpdateOperation.create_field_index(text(given.get("field_name"), "field_name"), kind))
