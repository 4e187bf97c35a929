"""`QdrantIndex` uses a filter only after a search has met a point that no decision may use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.quick_http import QuickHttp
from shared.schemas.storage import EmbeddingModel
from shared.storage.qdrant_index import QdrantIndex
from tests.contracts.index_rig import NOW, near, point, vector


class Watched(QdrantIndex):
    """Notes for each search whether it has a filter."""

    def __init__(self, http: QuickHttp) -> None:
        super().__init__(http, None, 5.0)
        self.filtered: list[bool] = []

    async def _search(self, search: Mapping[str, object], until: float, *, hurried: bool) -> Any:
        self.filtered.append("filter" in search)
        return await super()._search(search, until, hurried=hurried)


async def test_an_unrated_point_costs_a_second_search(http: QuickHttp, fresh_model: EmbeddingModel) -> None:
    """It takes no place among the nearest, and the next search avoids it."""
    index = Watched(http)
    await index.prepare(fresh_model)
    unrated, rated = point(vector(1), score=None), point(vector(1, 1))
    await index.upsert([unrated, rated])
    for asked in ([False, True], [True]):
        index.filtered.clear()
        (found,) = await near(index, vector(1), limit=1)
        assert found.request_id == rated.request_id
        assert index.filtered == asked


async def test_what_is_too_old_costs_a_second_search(http: QuickHttp, fresh_model: EmbeddingModel) -> None:
    """A point that is too old takes no place among the nearest; a filter is added once one has been met."""

    index = Watched(http)
    await index.prepare(fresh_model)
    old, young = point(vector(1), age_s=1000), point(vector(1, 1), age_s=10)
    await index.upsert([old, young])
    for since, nearest, asked in (
        (NOW - 2000, old, [False]),
        (NOW - 500, young, [False, True]),
        (NOW - 400, young, [True]),
        (NOW - 2000, old, [False]),
    ):
        index.filtered.clear()
        (found,) = await near(index, vector(1), limit=1, since=since)
        assert found.request_id == nearest.request_id
        assert index.filtered == asked
