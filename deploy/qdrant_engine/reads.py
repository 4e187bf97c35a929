"""Reads: JSON bodies of query, scroll and count to the engine's requests, and its points to JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qdrant_edge as edge

from deploy.qdrant_engine.fields import fields, items, point_id, real, text, truth, vector, whole
from deploy.qdrant_engine.filters import filter_of
from deploy.qdrant_engine.problems import invalid, malformed

DEFAULT_LIMIT = 10


def query_of(body: Any, size: int) -> Any:
    """Translate the body of `/points/query`."""
    given = fields(
        body,
        "query request",
        ("query", "filter", "params", "score_threshold", "limit", "offset", "with_payload", "with_vector"),
    )
    threshold = given.get("score_threshold")
    return edge.QueryRequest(
        limit=whole(given.get("limit", DEFAULT_LIMIT), "limit", least=1),
        offset=whole(given.get("offset", 0), "offset", least=0),
        query=_nearest(given.get("query"), size),
        filter=filter_of(given.get("filter")),
        score_threshold=None if threshold is None else real(threshold, "score_threshold"),
        with_payload=_payload_choice(given.get("with_payload", False)),
        with_vector=truth(given.get("with_vector", False), "with_vector"),
        params=_search_params(given.get("params")),
    )


def scroll_of(body: Any) -> Any:
    """Translate the body of `/points/scroll`."""
    given = fields(body, "scroll request", ("offset", "limit", "filter", "with_payload", "with_vector", "order_by"))
    if "offset" in given and "order_by" in given:
        raise malformed("offset and order_by exclude each other")
    return edge.ScrollRequest(
        offset=None if "offset" not in given else point_id(given["offset"]),
        limit=whole(given.get("limit", DEFAULT_LIMIT), "limit", least=1),
        filter=filter_of(given.get("filter")),
        with_payload=_payload_choice(given.get("with_payload", True)),
        with_vector=truth(given.get("with_vector", False), "with_vector"),
        order_by=_order(given.get("order_by")),
    )


def count_of(body: Any) -> Any:
    """Translate the body of `/points/count`."""
    given = fields(body, "count request", ("filter", "exact"))
    return edge.CountRequest(exact=truth(given.get("exact", True), "exact"), filter=filter_of(given.get("filter")))


def scored(points: Sequence[Any]) -> list[dict[str, Any]]:
    """Return scored points as JSON objects. An id is a number or a UUID, which orjson writes as text."""
    rendered = []
    for point in points:  # the hot part of a search: one dict per point, no calls
        shown = {"id": point.id, "version": point.version, "score": point.score}
        if (payload := point.payload) is not None:
            shown["payload"] = payload
        if (vector_of := point.vector) is not None:
            shown["vector"] = vector_of
        rendered.append(shown)
    return rendered


def records(points: Sequence[Any]) -> list[dict[str, Any]]:
    """Return records as JSON objects."""
    return [_rendered(point) for point in points]


def _rendered(point: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": point.id}
    if point.payload is not None:
        shown["payload"] = point.payload
    if point.vector is not None:
        shown["vector"] = point.vector
    order = getattr(point, "order_value", None)
    if order is not None:
        shown["order_value"] = order
    return shown


def _nearest(raw: Any, size: int) -> Any:
    if isinstance(raw, dict):  # the official client's form of a plain vector
        raw = fields(raw, "query", ("nearest",)).get("nearest")
    return edge.Query.Nearest(vector(raw, size))


def _search_params(raw: Any) -> Any:
    if raw is None:
        return None
    given = fields(raw, "params", ("exact", "quantization"))
    return edge.SearchParams(
        exact=truth(given.get("exact", False), "exact"),
        quantization=_quantization(given.get("quantization")),
    )


def _quantization(raw: Any) -> Any:
    if raw is None:
        return None
    given = fields(raw, "quantization", ("ignore", "rescore", "oversampling"))
    rescore, oversampling = given.get("rescore"), given.get("oversampling")
    if oversampling is not None and real(oversampling, "oversampling") < 1:
        raise invalid("oversampling must be at least 1.0")
    return edge.QuantizationSearchParams(
        ignore=truth(given.get("ignore", False), "ignore"),
        rescore=None if rescore is None else truth(rescore, "rescore"),
        oversampling=oversampling,
    )


def _payload_choice(raw: Any) -> Any:
    if isinstance(raw, bool):
        return raw
    return edge.PayloadSelector.Include([text(each, "with_payload") for each in items(raw, "with_payload")])


def _order(raw: Any) -> Any:
    if raw is None:
        return None
    given = fields(raw, "order_by", ("key", "direction"))
    direction = given.get("direction", "asc")
    if direction not in {"asc", "desc"}:
        raise malformed("direction must be asc or desc")
    way = edge.Direction.Asc if direction == "asc" else edge.Direction.Desc
    return edge.OrderBy(text(given.get("key"), "key"), way)
