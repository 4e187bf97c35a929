"""Exploration budget (EXPLORATION_BUDGET_USD): the daily cost of exploration, counted over all gateways in Redis.

An answer counts in full where exploration alone put its arm first; an arm that the router would have chosen anyway
costs nothing of the budget. The sum lives in Redis and is written together with each record. This view of it is at most
a second old, so that no request waits: answers that end within that second, or are in flight, may exceed the budget.
While Redis is away, the process adds its own costs to the last sum that it has read.
"""

from __future__ import annotations

import asyncio

from shared.metrics import GatewayMetrics
from shared.ports import Clock, RequestLog

REFRESH_S = 1.0
_TIMEOUT_S = 2.0
_DAY_S = 86_400


class ExplorationBudget:
    """A view of the day's spending. `budget_usd` is None without a limit."""

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
        """Cost of exploration this UTC day as far as known here, in doubt rather too high."""
        self._turn_over()
        return self._read_usd + self._before_usd + self._lately_usd

    @property
    def left(self) -> bool:
        """Whether there is budget left."""
        return self.budget_usd is None or self.spent_usd < self.budget_usd

    def spend(self, usd: float) -> None:
        """Add the cost of an answer that exploration alone chose."""
        self._turn_over()
        self._lately_usd += usd

    async def refresh(self) -> None:
        """Read the sum of all gateways. Raises DependencyError or TimeoutError; the last sum stays."""
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
