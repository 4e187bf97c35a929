"""`Heartbeats` in memory."""

from __future__ import annotations

from collections.abc import Mapping

from shared.errors import DependencyError
from shared.schemas.storage import Notice
from tests.support.fakes.memory import Memory
from tests.support.values import replace


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

    async def exchange(self, gateway: str, notice: Notice | None, ttl_s: float) -> Mapping[str, Notice]:
        self._here()
        now, notices = self.memory.clock.now(), self.memory.notices
        notices.pop(gateway, None)
        heard = {name: _faded(said, now - at) for name, (said, at) in notices.items() if now - at <= ttl_s}
        if notice is not None:
            notices[gateway] = notice, now
        return heard

    def _here(self) -> None:
        if self.memory.away:
            raise DependencyError("redis", "away")


def _faded(notice: Notice, age_s: float) -> Notice:
    rests = {arm: rest_s - age_s for arm, rest_s in notice.rests.items() if rest_s > age_s}
    limits = [replace(limit, lasts_s=limit.lasts_s - age_s) for limit in notice.limits]
    return Notice(rests, notice.behind, age_s, tuple(limit for limit in limits if limit.lasts_s > 0))
