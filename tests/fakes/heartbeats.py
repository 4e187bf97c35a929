"""`Heartbeats` in memory."""

from __future__ import annotations

from collections.abc import Mapping

from shared.errors import DependencyError
from tests.fakes.memory import Memory


class FakeHeartbeats:
    """The contract, without Redis."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()
        self._beats: dict[str, tuple[str, float]] = {}

    async def beat(self, worker: str, version: str, ttl_s: float) -> None:
        self._here()
        self._beats[worker] = (version, self.memory.clock.now() + ttl_s)

    async def alive(self) -> Mapping[str, str]:
        self._here()
        now = self.memory.clock.now()
        return {worker: version for worker, (version, until) in self._beats.items() if until > now}

    def _here(self) -> None:
        if self.memory.away:
            raise DependencyError("redis", "away")
