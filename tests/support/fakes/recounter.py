"""`Recounter` in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from shared.bandit.learning import with_cluster
from shared.bandit.sums import by_arm
from shared.clock import utc_day
from shared.errors import DependencyError
from shared.schemas.storage import Move, Recounting
from tests.support.fakes.memory import Memory


class FakeRecounter:
    """The contract, without Redis."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()

    async def state(self, limit: int) -> Recounting:
        self._here()
        centroids = self.memory.centroids
        counted = centroids is None or self.memory.counted == centroids.epoch
        return Recounting(centroids, counted, list(self.memory.miscounted)[:limit], "run")

    async def move(self, moves: Mapping[str, Move | None], epoch: int) -> int:
        self._here()
        for own_id, move in moves.items():
            if self.memory.centroids is None or self.memory.centroids.epoch != epoch:
                self.memory.miscounted.setdefault(own_id)
                continue
            self.memory.miscounted.pop(own_id, None)
            if move is not None:
                self._move(own_id, move)
        return 0

    def _move(self, own_id: str, move: Move) -> None:
        story = self.memory.stories[own_id]
        for kind, (revision, old) in list(story.ledger.items()):
            new = with_cluster(old, move.cluster)
            before, after = by_arm(move.arm, old), by_arm(move.arm, new)
            for arm in before:
                key = (arm, utc_day(move.created_at))
                sums = self.memory.sums.setdefault(key, Counter())
                sums.subtract(before[arm])
                sums.update(after[arm])
                self.memory.versions[key] += 1
            story.ledger[kind] = (revision, new)

    async def counted(self, epoch: int) -> None:
        self._here()
        self.memory.counted = epoch

    def _here(self) -> None:
        if self.memory.away:
            raise DependencyError("redis", "away")
