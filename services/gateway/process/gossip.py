"""What gateways tell one another, once a second through Redis: which models rest, and whose records are late.

Limits of models that one gateway has learned from a refusal go the same way (`learned_limits.py`).

No request waits for it. Where one gateway has opened the circuit of a model, all of them leave it alone
(`CircuitBreakers.hear`), and no gateway says "no such request" to a rating while another still holds its record.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Mapping

from services.gateway.limits.circuit_breakers import CircuitBreakers
from services.gateway.limits.learned_limits import LearnedLimits
from services.gateway.records.record_writer import RecordWriter
from shared.errors import DependencyError
from shared.ports import Clock, Heartbeats
from shared.schemas.storage import Notice

REFRESH_S = 1.0
LOOK_S = 0.3
TTL_S = 60.0
SILENT_S = 3.0
"""A gateway that has said nothing for this long has lost Redis, or its life: what it answered last may not be there."""


def name_of(port: int) -> str:
    """Return what this gateway is called: the same after a restart, and nothing that tells of the machine."""
    place = f"{socket.gethostname()}:{port}"
    return "gateway-" + hashlib.sha256(place.encode()).hexdigest()[:8]


class Gossip:
    """What this gateway says, and what it has heard."""

    def __init__(
        self,
        heartbeats: Heartbeats,
        recorder: RecordWriter,
        cooldowns: CircuitBreakers,
        learned_limits: LearnedLimits,
        *,
        name: str,
        clock: Clock,
        timeout_s: float,
    ) -> None:
        self.name = name
        self.heard: Mapping[str, Notice] = {}
        self._heard_at = float("-inf")
        self._heartbeats = heartbeats
        self._recorder = recorder
        self._cooldowns = cooldowns
        self._learned_limits = learned_limits
        self._clock = clock
        self._timeout_s = timeout_s

    async def exchange(self) -> None:
        """Say how it is, and hear the others. Raises DependencyError or TimeoutError; what was heard before stays."""
        now = self._clock.monotonic()
        notice = Notice(self._cooldowns.found(), self._recorder.behind, limits=self._learned_limits.found())
        async with asyncio.timeout(self._timeout_s):
            self.heard = await self._heartbeats.exchange(self.name, notice, TTL_S)
        self._heard_at = now
        self._cooldowns.hear({name: said.rests for name, said in self.heard.items()})
        self._learned_limits.hear({name: said.limits for name, said in self.heard.items()})

    async def in_doubt(self) -> bool:
        """Return whether there may be a request, here or with another gateway, that Redis does not know of yet.

        That there is none is only known once every gateway has said so after it was asked: within a second, where all
        is well.
        """
        asked = self._clock.monotonic()
        while not self._recorder.behind:
            if self._heard_at <= self._clock.monotonic() - LOOK_S or self._heard_at <= asked:
                try:
                    await self.exchange()
                except (DependencyError, TimeoutError):
                    return True
            if any(said.behind or said.age_s > SILENT_S for said in self.heard.values()):
                return True
            if all(self._heard_at - said.age_s >= asked for said in self.heard.values()):
                return False
            await asyncio.sleep(LOOK_S)
        return True

    async def leave(self) -> None:
        """Say nothing any more, unless records stay behind on disk. Raises DependencyError or TimeoutError."""
        if not self._recorder.spooled:
            async with asyncio.timeout(self._timeout_s):
                await self._heartbeats.exchange(self.name, None, TTL_S)

    def found_by(self) -> dict[str, list[str]]:
        """Return by arm which gateways have opened its circuit themselves."""
        found: dict[str, list[str]] = {}
        said = {self.name: self._cooldowns.found()} | {name: notice.rests for name, notice in self.heard.items()}
        for name, rests in said.items():
            for arm in rests:
                found.setdefault(arm, []).append(name)
        return found
