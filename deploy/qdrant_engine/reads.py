"""Queries, scrolls, counts and lookups: JSON in, the engine's requests out, and its answers as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qdrant_edge as edge

from deploy.qdrant_engine.fields import fields, items, point_id, point_ids, real, text, truth, vector, whole
from deploy.qdrant_engine.filters import filter_of
from deploy.qdrant_engine.problems import invalid, malformed, unsupported

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
        query=_scoring(given.get("query"), size),
        filter=filter_of(given.get("filter")),
        score_threshold=None if threshold is None else real(threshold, "score_threshold"),
        with_payload=_payload_choice(given.get("with_payload", False)),
        with_vector=_vector_choice(given.get("with_vector", False)),
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
        with_vector=_vector_choice(given.get("with_vector", False)),
        order_by=_order(given.get("order_by")),
    )


def count_of(body: Any) -> Any:
    """Translate the body of `/points/count`."""
    given = fields(body, "count request", ("filter", "exact"))
    return edge.CountRequest(exact=truth(given.get("exact", True), "exact"), filter=filter_of(given.get("filter")))


def lookup_of(body: Any) -> tuple[list[Any], Any, bool]:
    """Translate the body of `POST /points`: ids, payload choice, vector choice."""
    given = fields(body, "point request", ("ids", "with_payload", "with_vector"))
    return (
        point_ids(given.get("ids"), "ids"),
        _payload_choice(given.get("with_payload", True)),
        _vector_choice(given.get("with_vector", False)),
    )


def scored(points: Sequence[Any]) -> list[dict[str, Any]]:
    """Render scored points. An id is a number or a UUID, which orjson writes as its text."""
    rendered = []
    for point in points:  # most of a search's rendering: one dict a point, and no calls
        shown = {"id": point.id, "version": point.version, "score": point.score}
        if (payload := point.payload) is not None:
            shown["payload"] = payload
        if (vector_of := point.vector) is not None:
            shown["vector"] = vector_of
        if (order := point.order_value) is not None:
            shown["order_value"] = order
        rendered.append(shown)
    return rendered


def records(points: Sequence[Any]) -> list[dict[str, Any]]:
    """Render records."""
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


def _scoring(raw: Any, size: int) -> Any:
    if raw is None:
        return None
    if isinstance(raw, list):
        return edge.Query.Nearest(vector(raw, size))
    if isinstance(raw, dict) and "sample" in raw:
        if fields(raw, "query", ("sample",))["sample"] != "random":
            raise malformed("sample must be random")
        return edge.Sample.Random
    if isinstance(raw, dict) and "nearest" in raw:
        nearest = fields(raw, "query", ("nearest",))["nearest"]
        if isinstance(nearest, list):
            return edge.Query.Nearest(vector(nearest, size))
    if isinstance(raw, dict) and "order_by" in raw:
        return _order(fields(raw, "query", ("order_by",))["order_by"])
    raise unsupported("queries other than a dense vector, order_by or sample")


def _search_params(raw: Any) -> Any:
    if raw is None:
        return None
    given = fields(raw, "params", ("exact", "hnsw_ef", "quantization"))
    ef = given.get("hnsw_ef")
    return edge.SearchParams(
        exact=truth(given.get("exact", False), "exact"),
        hnsw_ef=None if ef is None else whole(ef, "hnsw_ef", least=1),
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
    if isinstance(raw, list):
        return edge.PayloadSelector.Include([text(each, "with_payload") for each in raw])
    given = fields(raw, "with_payload", ("include", "exclude"))
    if len(given) != 1:
        raise malformed("with_payload takes exactly one of include, exclude")
    name, keys = next(iter(given.items()))
    paths = [text(each, name) for each in items(keys, name)]
    return edge.PayloadSelector.Include(paths) if name == "include" else edge.PayloadSelector.Exclude(paths)


def _vector_choice(raw: Any) -> bool:
    if isinstance(raw, list):
        raise unsupported("with_vector by name")
    return truth(raw, "with_vector")


def _order(raw: Any) -> Any:
    if raw is None:
        return None
    given = fields({"key": raw} if isinstance(raw, str) else raw, "order_by", ("key", "direction", "start_from"))
    direction = given.get("direction", "asc")
    if direction not in {"asc", "desc"}:
        raise malformed("direction must be asc or desc")
    start = given.get("start_from")
    if isinstance(start, str):
        raise unsupported("start_from of dates")
    return edge.OrderBy(
        text(given.get("key"), "key"),
        edge.Direction.Asc if direction == "asc" else edge.Direction.Desc,
        None if start is None else start if type(start) is int else real(start, "start_from"),
    )
