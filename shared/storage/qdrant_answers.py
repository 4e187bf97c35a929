"""Validation of Qdrant's responses: a figure out of range must never reach a decision."""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated, Any, Literal, NoReturn, TypeVar

import orjson
from msgspec import DecodeError, Meta, Struct
from msgspec.json import Decoder

from shared.bandit.context import Neighbour
from shared.errors import DependencyError
from shared.schemas.storage import EmbeddingModel
from shared.storage.qdrant_setup import INDEXES

_T = TypeVar("_T")
SIMILARITY = 1.001
"""Upper bound above 1: rounding may take the cosine of a vector with itself beyond it."""

_neighbour = partial(tuple.__new__, Neighbour)
"""Without a call of Python: a request has fifty of them."""


class NoCollection(DependencyError):
    """The collection does not exist."""


class NotYet(DependencyError):
    """Qdrant reports a conflict or an internal error, which may be temporary."""


class WrongCollection(Exception):
    """A collection of this name holds other vectors; a retry does not help."""


def accepted(status: int, raw: bytes) -> bytes:
    """Return the body of a 200. Raises a DependencyError that names the status otherwise."""
    if status == 404:
        raise NoCollection("qdrant", "no such collection")
    if status == 409 or status >= 500:
        raise NotYet("qdrant", f"status {status}")
    if status != 200:
        raise DependencyError("qdrant", f"status {status}")
    return raw


def decoded(raw: bytes) -> Any:
    """Return a JSON body."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise DependencyError("qdrant", "the answer is not JSON") from error


def result(body: Any) -> Any:
    """Return the `result` of a response."""
    if not isinstance(body, dict) or body.get("status") != "ok" or body.get("result") is None:
        _refuse("the envelope")
    return body["result"]


class _Payload(Struct, gc=False):
    arm: Annotated[str, Meta(min_length=1)]
    created_at: float
    score: Annotated[float, Meta(ge=0, le=1)] | None = None


class _Point(Struct, gc=False):
    id: str
    score: Annotated[float, Meta(ge=-SIMILARITY, le=SIMILARITY)]
    payload: _Payload


class Found(Struct, gc=False):
    """Points of one search, nearest first."""

    points: list[_Point]


class _One(Struct, gc=False):
    status: Literal["ok"]
    result: Found


class _Several(Struct, gc=False):
    status: Literal["ok"]
    result: list[Found]


_ONE, _SEVERAL = Decoder(_One), Decoder(_Several)


def found(raw: bytes) -> Found:
    """Return the points of a search."""
    return _checked(_ONE, raw).result


def found_by_each(raw: bytes, number: int) -> list[Found]:
    """Return the points of each of `number` searches."""
    results = _checked(_SEVERAL, raw).result
    if len(results) != number:
        _refuse("the number of results")
    return results


def _checked(decoder: Decoder[_T], raw: bytes) -> _T:
    try:
        return decoder.decode(raw)
    except (DecodeError, UnicodeDecodeError) as error:
        raise DependencyError("qdrant", "malformed answer: what was found") from error


def neighbours(found: Found, limit: int) -> tuple[Neighbour, ...]:
    """Return the neighbours, at most `limit`, nearest first. Every point must have a score."""
    if len(found.points) > limit:
        _refuse("the number of neighbours")
    parsed, last = [], SIMILARITY
    for point in found.points:
        similarity, payload, score = point.score, point.payload, point.payload.score
        if similarity > last:
            _refuse("the order of neighbours")
        if score is None:
            _refuse("a neighbour without a score")
        last = similarity
        if similarity > 1.0:  # noqa: PLR1730 - no calls in this loop
            similarity = 1.0
        parsed.append(_neighbour((point.id, similarity, payload.arm, score)))
    return tuple(parsed)


def oldest(found: Found) -> float:
    """Return when the oldest point was created: infinite where there is none, minus infinite of one without a score."""
    payloads = [point.payload for point in found.points]
    return min([-math.inf if one.score is None else one.created_at for one in payloads], default=math.inf)


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
