"""`ArmChanges` and `FreeArmMemory` in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from shared.bandit.arms import ArmId
from shared.errors import DependencyError
from tests.support.fakes.memory import Memory


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


class FakeFreeArms:
    """The contract, without Redis."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()

    async def read(self) -> tuple[ArmId, ...]:
        self._check()
        return self.memory.free_arms

    async def replace(self, before: tuple[ArmId, ...], after: tuple[ArmId, ...]) -> bool:
        self._check()
        same = self.memory.free_arms == before
        if same:
            self.memory.free_arms = after
        return same

    def _check(self) -> None:
        if self.memory.away:
            raise DependencyError("redis", "away")
