"""`Outbox` in memory."""

from __future__ import annotations

from collections.abc import Sequence

from shared.errors import DependencyError
from shared.schemas.events import EventKind
from shared.schemas.history import OutboxDepth, Waiting
from tests.support.fakes.memory import Memory


class FakeOutbox:
    """The contract, without Redis."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()

    async def read(self, limit: int) -> list[Waiting]:
        self._here()
        return list(self.memory.outbox.values())[:limit]

    async def done(self, entries: Sequence[Waiting]) -> None:
        self._here()
        for entry in entries:
            if (waiting := self.memory.outbox.pop(entry.entry_id, None)) is not None and waiting.request is not None:
                story = self.memory.stories[waiting.request_id]
                story.kept = True
                if EventKind.OUTCOME in story.ledger:
                    self.memory.unindexed.setdefault(waiting.request_id)

    async def depth(self) -> OutboxDepth:
        self._here()
        first = next(iter(self.memory.outbox), None)
        age_s = 0.0 if first is None else self.memory.clock.now() - int(first.split("-")[0]) / 1000
        return OutboxDepth(len(self.memory.outbox), max(age_s, 0.0), self.memory.dropped)

    def _here(self) -> None:
        if self.memory.away:
            raise DependencyError("redis", "away")
