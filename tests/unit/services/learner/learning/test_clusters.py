"""Recounting by new clusters: what interrupts it, or shows it another Redis, makes it begin again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from unittest.mock import AsyncMock, Mock

import numpy as np
import pytest

from services.learner.learning.clusters import ClusterUpdater
from shared.bandit.sums import Centroids
from shared.errors import DependencyError
from shared.schemas.storage import Recounting
from tests.support.fakes.clock import FakeClock

CENTROIDS = Centroids(epoch=1, centres=np.eye(4, dtype=np.float32)[:2], model="test-4")


class Redis:
    """Three batches of requests; `runs` says which server answers when, `fails_at` which batch fails once."""

    def __init__(self, runs: list[str], fails_at: int = -1) -> None:
        self.runs, self.fails_at = runs, fails_at
        self.seen: list[str] = []
        self.counted = AsyncMock()
        self.move = AsyncMock(return_value=0)

    async def ids_of(self, _owner: str | None, *, since: float) -> AsyncIterator[list[str]]:  # noqa: ARG002
        for batch in range(3):
            if batch == self.fails_at:
                self.fails_at = -1
                raise DependencyError("redis", "away")
            self.seen.append(f"batch {batch}")
            yield [f"batch {batch}"]

    async def state(self, _limit: int) -> Recounting:
        run = self.runs.pop(0) if len(self.runs) > 1 else self.runs[0]
        return Recounting(CENTROIDS, False, [], run)

    async def load(self, own_ids: list[str]) -> list[None]:
        return [None] * len(own_ids)

    @property
    def updater(self) -> ClusterUpdater:
        away = Mock(prepare=AsyncMock(side_effect=DependencyError("embedder", "away")))  # nothing is fitted here
        return ClusterUpdater(
            log=self, index=Mock(), index_writer=away, posteriors=Mock(), recounter=self,  # type: ignore[arg-type]
            clock=FakeClock(), metrics=Mock(), recency_days=30.0,
        )  # fmt: skip


async def test_an_interrupted_recount_begins_again() -> None:
    """It is not taken for finished: requests behind the interruption would keep their old clusters."""
    redis = Redis(["one"], fails_at=1)
    updater = redis.updater
    with pytest.raises(DependencyError):
        await updater.step()
    redis.counted.assert_not_awaited()
    await updater.step()
    redis.counted.assert_awaited_once_with(1)
    assert redis.seen == ["batch 0", "batch 0", "batch 1", "batch 2"]


async def test_a_redis_that_restarted_meanwhile_is_gone_through_again() -> None:
    """A scan over a restart may miss requests."""
    redis = Redis(["one", "two"])
    updater = redis.updater
    await updater.step()
    redis.counted.assert_not_awaited()
    await updater.step()
    redis.counted.assert_awaited_once_with(1)
    assert redis.seen == ["batch 0", "batch 1", "batch 2"] * 2
