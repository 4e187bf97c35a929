"""`PosteriorHistory` in memory."""

from __future__ import annotations

from shared.errors import DependencyError
from shared.posterior_history import Posteriors
from tests.support.fakes.memory import Memory


class FakePosteriorHistory:
    """The contract, without Redis."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._minutes: dict[int, Posteriors] = {}
        self._hours: dict[int, Posteriors] = {}

    async def note(self, minute: int, posteriors: Posteriors) -> None:
        self._here()
        if posteriors:
            self._minutes[minute] = self._hours[minute // 60] = dict(posteriors)

    async def minutes(self, first: int, number: int) -> list[Posteriors]:
        self._here()
        return [self._minutes.get(first + at, {}) for at in range(number)]

    async def hours(self, first: int, number: int) -> list[Posteriors]:
        self._here()
        return [self._hours.get(first + at, {}) for at in range(number)]

    def _here(self) -> None:
        if self._memory.away:
            raise DependencyError("redis", "away")
