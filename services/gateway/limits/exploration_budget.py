"""EXPLORATION_BUDGET_USD: what a day's exploring may cost, counted over all gateways in Redis.

Spent is what was paid, in full, for answers by an arm that only the draw put first; what the router would have chosen
without exploring costs nothing of it. The sum lives in Redis, written together with each record. Here is a view of it,
a second old at most, so that no request waits: what answers end within that second, and what is open, may go beyond.
While Redis is away this process counts on from what it last read.
"""

from __future__ import annotations

import asyncio

from shared.metrics import GatewayMetrics
from shared.ports import Clock, RequestLog

REFRESH_S = 1.0
_TIMEOUT_S = 2.0
_DAY_S = 86_400


class ExplorationBudget:
    """How much of the day's budget is left."""

    def __init__(self, log: RequestLog, *, budget_usd: float | None, clock: Clock, metrics: GatewayMetrics) -> None:
        self._log = log
        self._clock = clock
        self._metrics = metrics
        self._day = self._today()
        self._read_usd = 0.0
        self._lately_usd = 0.0
        self._before_usd = 0.0
        self.budget_usd = budget_usd

    @property
    def spent_usd(self) -> float:
        """What this UTC day's exploring has cost, as far as is known here; rather too much than too little."""
        self._turn_over()
        return self._read_usd + self._before_usd + self._lately_usd

    @property
    def left(self) -> bool:
        """Whether exploring goes on."""
        return self.budget_usd is None or self.spent_usd < self.budget_usd

    def spend(self, usd: float) -> None:
        """An answer that only exploration chose has been paid."""
        self._turn_over()
        self._lately_usd += usd

    async def refresh(self) -> None:
        """Read what all gateways have spent. Raises DependencyError or TimeoutError; what was known stays."""
        self._turn_over()
        lately = self._lately_usd
        async with asyncio.timeout(_TIMEOUT_S):
            self._read_usd = await self._log.explored_usd(self._clock.now())
        # A record is written a moment after its answer was paid: what came since the last time may not be in yet.
        self._before_usd, self._lately_usd = lately, self._lately_usd - lately
        self._metrics.explored.set(self.spent_usd)

    def _turn_over(self) -> None:
        if self._today() != self._day:
            self._day = self._today()
            self._read_usd = self._before_usd = self._lately_usd = 0.0

    def _today(self) -> int:
        return int(self._clock.now() // _DAY_S)
