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

    def all_ids(self) -> AsyncIterator[list[str]]:
        """Yield the ids of all imports, in batches."""
