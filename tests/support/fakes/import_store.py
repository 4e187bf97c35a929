"""`ImportStore` in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from shared.errors import DependencyError
from shared.schemas.events import EventKind, ledger_name
from shared.schemas.imports import Import, StoredImport
from tests.support.fakes.memory import Memory, Story


class FakeImportStore:
    """The contract, without Redis. Here nothing expires."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()

    async def load(self, own_ids: Sequence[str]) -> list[StoredImport | None]:
        self._here()
        return [self._stored(own_id) for own_id in own_ids]

    def _stored(self, own_id: str) -> StoredImport | None:
        story = self.memory.stories.get(own_id)
        if story is None or story.imported is None:
            return None
        revision, sums = story.ledger.get(ledger_name(EventKind.FEEDBACK), (0, None))
        return StoredImport(story.imported, None, story.assigned, revision, sums)

    async def put(self, imports: Sequence[Import]) -> None:
        self._here()
        for one in imports:
            self.memory.stories[one.id].imported = one

    async def restore(self, imports: Sequence[StoredImport]) -> None:
        self._here()
        for one in imports:
            ledger = {} if one.sums is None else {ledger_name(EventKind.FEEDBACK): (one.revision, dict(one.sums))}
            self.memory.stories[one.record.id] = Story(imported=one.record, assigned=one.assigned, ledger=ledger)

    async def all_ids(self) -> AsyncIterator[list[str]]:
        self._here()
        found = [own_id for own_id, story in self.memory.stories.items() if story.imported is not None]
        if found:
            yield found

    def _here(self) -> None:
        if self.memory.away:
            raise DependencyError("redis", "away")
