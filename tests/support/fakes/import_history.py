"""`ImportHistory` in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from msgspec import structs

from shared.errors import DependencyError
from shared.schemas.imports import Import, StoredImport


class FakeImportHistory:
    """The contract, without PostgreSQL. `away` set makes it raise DependencyError."""

    def __init__(self) -> None:
        self.away = False
        self.imports: dict[str, StoredImport] = {}

    @property
    def records(self) -> list[Import]:
        """Return all imports."""
        return [one.record for one in self.imports.values()]

    async def write(self, imports: Sequence[StoredImport]) -> None:
        self._here()
        for one in imports:
            known = self.imports.get(one.record.id)
            vector = known.vector if one.vector is None and known is not None else one.vector
            self.imports[one.record.id] = structs.replace(one, vector=vector, revision=0, sums=None)

    async def read(self, *, since: float, batch: int = 500) -> AsyncIterator[list[StoredImport]]:
        self._here()
        found = [one for one in self.imports.values() if one.record.created_at >= since]
        found.sort(key=lambda one: (one.record.created_at, one.record.id))
        for start in range(0, len(found), batch):
            yield found[start : start + batch]

    def _here(self) -> None:
        if self.away:
            raise DependencyError("postgres", "away")
