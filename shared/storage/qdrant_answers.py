"""What Qdrant answers, checked before it is believed: a figure out of range must never reach a decision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import orjson
from numpy.typing import NDArray

from shared.bandit.context import Neighbour
from shared.errors import DependencyError
from shared.schemas.storage import EmbeddingModel

INDEXES: Mapping[str, str] = {"labelled": "bool", "created_at": "integer", "owner": "keyword"}
"""Payload fields that are filtered, with the type of their index."""


class NoCollection(DependencyError):
    """The collection is not there."""


class NotYet(DependencyError):
    """Qdrant answers with a conflict or a fault of its own; it may pass."""


class WrongCollection(Exception):
    """A collection of this name holds other vectors; waiting does not help."""


def decoded(status: int, raw: bytes) -> Any:
    """Return the JSON body of a 200. Raises a DependencyError that names the status otherwise."""
    if status == 404:
        raise NoCollection("qdrant", "no such collection")
    if status == 409 or status >= 500:
        raise NotYet("qdrant", f"status {status}")
    if status != 200:
        raise DependencyError("qdrant", f"status {status}")
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise DependencyError("qdrant", "the answer is not JSON") from error


def result(body: Any) -> Any:
    """Return what is in the envelope."""
    if not isinstance(body, dict) or body.get("status") != "ok" or body.get("result") is None:
        _refuse("the envelope")
    return body["result"]


def results(body: Any, number: int) -> Sequence[Any]:
    """Return what is in the envelope of a batch: as many results as there were questions."""
    found = result(body)
    if not isinstance(found, list) or len(found) != number:
        _refuse("the number of results")
    return found


def neighbours(found: Any, limit: int) -> tuple[Neighbour, ...]:
    """Return the neighbours, at most `limit`, nearest first."""
    try:
        parsed = _neighbours(found["points"])
    except (KeyError, TypeError) as error:
        raise DependencyError("qdrant", "malformed neighbours") from error
    if len(parsed) > limit:
        _refuse("the number of neighbours")
    return parsed


def _neighbours(points: Any) -> tuple[Neighbour, ...]:
    """One loop without calls: a request has fifty of them, and most of its calls would cost more than what they do."""
    parsed, last, make = [], 1.0, Neighbour._make
    for point in points:
        payload = point["payload"]
        own_id, similarity, arm, score = point["id"], point["score"], payload["arm"], payload["score"]
        if type(own_id) is not str or type(arm) is not str or not arm:
            _refuse("an id or an arm")
        if type(score) is not float:
            score = _whole(score)
        if not 0.0 <= score <= 1.0:
            _refuse("a score")
        if type(similarity) is not float or similarity > 1.0:
            similarity = _at_most_one(similarity)
        if not -1.001 <= similarity <= last:
            _refuse("a similarity, or the order of neighbours")
        last = similarity
        parsed.append(make((own_id, similarity, arm, score)))
    return tuple(parsed)


def _whole(number: Any) -> float:
    """JSON may write 1.0 as 1."""
    if type(number) is not int:
        _refuse("a number")
    return float(number)


def _at_most_one(similarity: Any) -> float:
    """Rounding takes the cosine of a vector with itself to 1.0000001."""
    number = similarity if type(similarity) is float else _whole(similarity)
    if number > 1.001:
        _refuse("a similarity")
    return min(number, 1.0)


def oldest(found: Any) -> float:
    """Return when the oldest of the points was created; infinite where there is none."""
    try:
        created_at = min([point["payload"]["created_at"] for point in found["points"]], default=math.inf)
    except (KeyError, TypeError) as error:
        raise DependencyError("qdrant", "malformed neighbours") from error
    if not isinstance(created_at, int | float):
        _refuse("a time")
    return created_at


def vectors(found: Any, dimension: int) -> NDArray[np.float32]:
    """Return the vectors of a scroll, (n, dimension)."""
    try:
        rows = np.array([point["vector"] for point in found["points"]], dtype=np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise DependencyError("qdrant", "malformed vectors") from error
    if not rows.size:
        return np.empty((0, dimension), dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != dimension or not np.isfinite(rows).all():
        _refuse("vectors")
    return rows


def count(found: Any) -> int:
    """Return the number of a count."""
    number = found.get("count") if isinstance(found, dict) else None
    if type(number) is not int or number < 0:
        _refuse("a count")
    return number


def version(body: Any) -> str:
    """Return the version that `GET /` names."""
    found = body.get("version") if isinstance(body, dict) else None
    if type(found) is not str or not found:
        _refuse("a version")
    return found


def is_complete(described: Any, model: EmbeddingModel) -> bool:
    """Whether the collection fits the model and has its payload indexes. Raises WrongCollection when it cannot fit."""
    try:
        vectors_of = described["config"]["params"]["vectors"]
        size, distance = vectors_of["size"], vectors_of["distance"]
        have = {name: index["data_type"] for name, index in described["payload_schema"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise DependencyError("qdrant", "malformed description of the collection") from error
    if size != model.dimension or distance != "Cosine":
        raise WrongCollection(f"the collection has {distance} vectors of {size}, expected Cosine of {model.dimension}")
    return all(have.get(name) == kind for name, kind in INDEXES.items())


def _refuse(what: str) -> NoReturn:
    raise DependencyError("qdrant", f"malformed answer: {what}")
