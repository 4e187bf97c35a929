"""Vectors and points with which the local Qdrant engine is tested."""

from __future__ import annotations

from qdrant_client import models

SIZE = 4
VECTORS = models.VectorParams(size=SIZE, distance=models.Distance.COSINE)
LABELLED = models.FieldCondition(key="labelled", match=models.MatchValue(value=True))


def points(number: int) -> list[models.PointStruct]:
    """Points 0, 1, … leaning ever further from the first axis; the odd ones are labelled."""
    return [
        models.PointStruct(id=each, vector=[1, each / 10, 0, 0], payload={"labelled": each % 2 == 1, "at": each})
        for each in range(number)
    ]
