"""Vectors and points with which `RequestIndex` is tested."""

from __future__ import annotations

import uuid

import numpy as np

from shared.bandit.context import Neighbour, Vector
from shared.ports import RequestIndex
from shared.schemas.storage import EmbeddingModel, Point

DIMENSION = 8
NOW = 1_795_000_000.25
MODEL = EmbeddingModel("test/contract", DIMENSION)


def vector(*head: float) -> Vector:
    row = np.zeros(DIMENSION, dtype=np.float32)
    row[: len(head)] = head
    return row / np.linalg.norm(row)


def point(at: Vector, *, score: float | None = 0.5, age_s: float = 0.0, arm: str = "a/b", own_id: str = "") -> Point:
    return Point(own_id or str(uuid.uuid4()), at, arm, NOW - age_s, "public", score)


async def near(
    index: RequestIndex, at: Vector, *, limit: int = 50, threshold: float = 0.5, since: float = 0.0
) -> tuple[Neighbour, ...]:
    return await index.neighbours(at, limit=limit, threshold=threshold, since=since)
