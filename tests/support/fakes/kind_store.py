"""`KindStore` in memory."""

from __future__ import annotations

from collections.abc import Mapping

from shared.bandit.kinds import Kinds
from shared.errors import DependencyError
from shared.schemas.storage import Assignment
from tests.support.fakes.memory import Memory


class FakeKindStore:
    """The contract, without Redis and without clusters of an earlier version."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()

    async def load(self) -> Kinds | None:
        self._here()
        return self.memory.kinds

    async def save(self, before: Kinds | None, after: Kinds, assigned: Mapping[str, Assignment]) -> bool:
        self._here()
        if _place(self.memory.kinds) != _place(before):
            return False
        stories = self.memory.stories
        if any(own_id in stories and stories[own_id].assigned is not None for own_id in assigned):
            return False
        self.memory.kinds = after
        for own_id, assignment in assigned.items():
            if own_id in self.memory.stories and self.memory.stories[own_id].is_recorded:
                self.memory.stories[own_id].assigned = assignment
        return True

    def _here(self) -> None:
        if self.memory.away:
            raise DependencyError("redis", "away")


def _place(kinds: Kinds | None) -> tuple[int, int] | None:
    return None if kinds is None else (kinds.generation, kinds.order)
