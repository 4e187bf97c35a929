"""`RecordArchive` in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.errors import DependencyError
from shared.schemas.records import RequestRecord


class FakeRecordArchive:
    """The contract, without PostgreSQL. `away` set makes it raise DependencyError."""

    def __init__(self) -> None:
        self.away = False
        self.kept: dict[str, RequestRecord] = {}

    def add(self, record: RequestRecord) -> None:
        """Have a record."""
        self.kept[record.id] = record

    async def records(self, own_ids: Sequence[str]) -> Mapping[str, RequestRecord]:
        if self.away:
            raise DependencyError("postgres", "away")
        return {own_id: self.kept[own_id] for own_id in own_ids if own_id in self.kept}
