"""`ArmChanges` in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from shared.bandit.arms import ArmId
from shared.errors import DependencyError
from tests.fakes.memory import Memory


class FakeArmChanges:
    """The contract, without Redis."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()

    async def read(self) -> Mapping[ArmId, bool]:
        return dict(self._arms())

    async def add(self, arm: ArmId) -> None:
        self._arms()[arm] = True

    async def remove(self, arm: ArmId, others: Collection[ArmId]) -> bool:
        arms = self._arms()
        left = any(arms.get(other, True) for other in others)
        if left:
            arms[arm] = False
        return left

    def _arms(self) -> dict[ArmId, bool]:
        if self.memory.away:
            raise DependencyError("redis", "away")
        return self.memory.arms
