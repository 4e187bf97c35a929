"""Gossip between gateways, once a second through Redis: open circuits, learned limits, and records that are late.

No request waits for it. Where one gateway has opened the circuit of an arm, all of them leave it alone
(`CircuitBreakers.hear`), and no gateway answers a rating with 404 while another still holds the request's record.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field

from services.gateway.limits.learned_limits import LearnedLimits
from services.gateway.records.record_writer import RecordWriter
from shared.errors import DependencyError
from shared.ports import Clock, Heartbeats
from shared.resilience.upstream_circuits import CircuitBreakers
from shared.schemas.storage import Notice

REFRESH_S = 1.0
LOOK_S = 0.3
TTL_S = 60.0
SILENT_S = 3.0
"""A gateway that is silent for this long has lost Redis, or has died: its last records may be missing."""


def name_of(port: int) -> str:
    """Return the name of this gateway: the same after a restart, and without details of the machine."""
    place = f"{socket.gethostname()}:{port}"
    return "gateway-" + hashlib.sha256(place.encode()).hexdigest()[:8]


@dataclass(eq=False, repr=False)
class Gossip:
    """Exchanges notices with the other gateways. `heard`: the last notice of each, by name."""

    heartbeats: Heartbeats
    record_writer: RecordWriter
    circuit_breakers: CircuitBreakers
    learned_limits: LearnedLimits
    _: KW_ONLY
    name: str
    clock: Clock
    timeout_s: float
    heard: Mapping[str, Notice] = field(init=False, default_factory=dict)
    _heard_at: float = field(init=False, default=float("-inf"))

    async def exchange(self) -> None:
        """Publish our notice, and read the others'. Raises DependencyError or TimeoutError; the last ones stay."""
        now = self.clock.monotonic()
        notice = Notice(
            self.circuit_breakers.own_findings(),
            self.record_writer.behind,
            limits=self.learned_limits.own_findings(),
        )
        async with asyncio.timeout(self.timeout_s):
            self.heard = await self.heartbeats.exchange(self.name, notice, TTL_S)
        self._heard_at = now
        self.circuit_breakers.merge({name: said.rests for name, said in self.heard.items()})
        self.learned_limits.merge({name: said.limits for name, said in self.heard.items()})

    async def in_doubt(self) -> bool:
        """Return whether there may be a request, here or with another gateway, that Redis does not know of yet.

        False is certain only once every gateway has sent a notice after this call began: within a second as a rule.
        """
        asked = self.clock.monotonic()
        while not self.record_writer.behind:
            if self._heard_at <= self.clock.monotonic() - LOOK_S or self._heard_at <= asked:
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
        """Withdraw our notice, unless records stay behind on disk. Raises DependencyError or TimeoutError."""
        if not self.record_writer.spooled:
            async with asyncio.timeout(self.timeout_s):
                await self.heartbeats.exchange(self.name, None, TTL_S)

    def found_by(self) -> dict[str, list[str]]:
        """Return by arm which gateways have opened its circuit themselves."""
        found: dict[str, list[str]] = {}
        said = {self.name: self.circuit_breakers.own_findings()} | {
            name: notice.rests for name, notice in self.heard.items()
        }
        for name, rests in said.items():
            for arm in rests:
                found.setdefault(arm, []).append(name)
        return found
