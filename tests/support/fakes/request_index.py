"""`RequestIndex` in memory: exact cosine by numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from shared.bandit.context import Neighbour, Vector
from shared.errors import DependencyError
from shared.schemas.storage import EmbeddingModel, Point
from tests.support.values import replace


class FakeRequestIndex:
    """The contract, without Qdrant. Set `available` to False to see what callers do without it."""

    def __init__(self) -> None:
        self.available = True
        self.points: dict[EmbeddingModel, dict[str, Point]] = {}
        self._model: EmbeddingModel | None = None

    async def prepare(self, model: EmbeddingModel) -> None:
        self._here()
        self.points.setdefault(model, {})
        self._model = model

    async def neighbours(
        self,
        vector: Vector,
        *,
        limit: int,
        threshold: float,
        since: float,
        within_s: float | None = None,  # noqa: ARG002
    ) -> tuple[Neighbour, ...]:
        stored, model = self._stored()
        if vector.shape != (model.dimension,) or not np.isfinite(vector).all():
            raise DependencyError("qdrant", "wrong dimension")
        found = [
            Neighbour(point.request_id, min(_cosine(point.vector, vector), 1.0), point.arm, point.score)
            for point in stored.values()
            if point.score is not None and math.floor(point.created_at) >= math.floor(since)
        ]
        near = [each for each in found if each.similarity >= threshold]
        return tuple(sorted(near, key=lambda each: -each.similarity)[:limit])

    async def upsert(self, points: Sequence[Point]) -> None:
        stored, model = self._stored()
        if any(point.vector.shape != (model.dimension,) or not np.isfinite(point.vector).all() for point in points):
            raise DependencyError("qdrant", "wrong dimension")
        stored.update({point.request_id: point for point in points})

    async def label(self, scores: Mapping[str, float | None]) -> None:
        stored, _ = self._stored()
        for request_id, score in scores.items():
            if request_id in stored:
                stored[request_id] = replace(stored[request_id], score=score)

    async def delete_before(self, created_at: float) -> None:
        stored, _ = self._stored()
        old = [key for key, point in stored.items() if math.floor(point.created_at) < math.floor(created_at)]
        await self.delete(old)

    async def delete(self, request_ids: Sequence[str]) -> None:
        stored, _ = self._stored()
        for request_id in request_ids:
            stored.pop(request_id, None)

    async def count(self) -> int:
        return len(self._stored()[0])

    async def ping(self) -> str:
        self._here()
        return "fake"

    def _here(self) -> None:
        if not self.available:
            raise DependencyError("qdrant", "away")

    def _stored(self) -> tuple[dict[str, Point], EmbeddingModel]:
        self._here()
        if self._model is None:
            raise DependencyError("qdrant", "the collection is not prepared yet")
        return self.points[self._model], self._model


def _unit(vector: Vector) -> Vector:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def _cosine(left: Vector, right: Vector) -> float:
    return float(_unit(left) @ _unit(right))
