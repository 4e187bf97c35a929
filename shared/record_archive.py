"""Port of records that Redis no longer keeps; errors are those of `shared.ports`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from shared.schemas.records import RequestRecord


class RecordArchive(Protocol):
    """Records in the history."""

    async def records(self, own_ids: Sequence[str]) -> Mapping[str, RequestRecord]:
        """Return the records that there are, by own id."""
