"""`RequestList` in memory."""

from __future__ import annotations

import contextlib

from shared.errors import DependencyError, Gone
from shared.schemas.traffic import RequestPage
from tests.support.fakes.memory import Memory
from tests.support.fakes.request_log import FakeRequestLog


class FakeRequestList:
    """The contract, without Redis and without a bound."""

    def __init__(self, memory: Memory, log: FakeRequestLog | None = None) -> None:
        self._memory = memory
        self._log = log or FakeRequestLog(memory)

    async def page(self, owner: str | None, *, before: str, limit: int) -> RequestPage:
        if self._memory.away:
            raise DependencyError("redis", "away")
        own_ids = sorted(
            (
                own_id
                for own_id, story in self._memory.stories.items()
                if story.record is not None and owner in (None, story.record.owner)
                and (not before or own_id < before)
            ),
            reverse=True,
        )[:limit]  # fmt: skip
        found = []
        for own_id in own_ids:
            with contextlib.suppress(Gone):
                found.append(await self._log.find(owner=None, public_id=own_id))
        last = own_ids[-1] if len(own_ids) == limit else ""
        return RequestPage(tuple(stored for stored in found if stored is not None), last)
