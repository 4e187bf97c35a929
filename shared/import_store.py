"""Ports of imported scores; errors are those of `shared.ports`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from shared.schemas.imports import Import, StoredImport


class ImportStore(Protocol):
    """Store of imports. Their kinds and contributions are stored through `KindStore` and `PosteriorStore`."""

    async def load(self, own_ids: Sequence[str]) -> list[StoredImport | None]:
        """Return imports without their vectors; None where there is none, or it cannot be read."""

    async def put(self, imports: Sequence[Import]) -> None:
        """Store or replace imports; their kinds and contributions stay. They expire when they no longer count."""

    async def restore(self, imports: Sequence[StoredImport]) -> None:
        """Store imports with their kinds and contributions, as learning left them; no other process writes them."""

    def all_ids(self) -> AsyncIterator[list[str]]:
        """Yield the ids of all imports, in batches."""


class ImportHistory(Protocol):
    """Permanent store of imports. Writes are idempotent."""

    async def write(self, imports: Sequence[StoredImport]) -> None:
        """Store or replace imports and their kinds; one without a vector keeps the vector that it has."""

    def read(self, *, since: float, batch: int = 500) -> AsyncIterator[list[StoredImport]]:
        """Yield imports of scores at or after `since` (Unix s), oldest first, in batches."""
