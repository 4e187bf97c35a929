"""View of the traffic over time: which sums to read, and what they say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from services.gateway.process.time_steps import TimeSteps, time_steps
from services.gateway.process.traffic_figures import Sums, by_name, expected, shown, spent, total
from shared.clock import utc_day
from shared.ports import Clock
from shared.traffic import Figures, Traffic

DAY_S = 86_400


def _stats(steps: TimeSteps, parts: Sequence[Figures]) -> dict[str, Any]:
    arms = by_name(parts)
    return {
        "object": "stats",
        **steps.view(),
        **_both(arms),
        "expected": expected(arms),
        "data": [{"at": at, **_both(by_name(of))} for at, of in steps.split(parts)],
    }


def _both(arms: Mapping[str, Sums]) -> dict[str, Any]:
    """Return the figures of all traffic and of each model that was called; others were only weighed."""
    return {
        "total": shown(total(arms.values())),
        "arms": {arm: shown(sums) for arm, sums in sorted(arms.items()) if "requests" in sums or "errors" in sums},
    }


class TrafficView:
    """Statistics and spending: those of this gateway up to now, of others up to a second ago.

    Raises DependencyError like `Traffic`.
    """

    def __init__(self, traffic: Traffic, clock: Clock) -> None:
        self._traffic = traffic
        self._clock = clock

    async def stats(self, minutes: int, step: int) -> dict[str, Any]:
        """Return figures of the last `minutes` in steps of `step` minutes, the last of which is not over yet."""
        steps = time_steps(self._clock.now(), minutes, step)
        await self._traffic.store()
        parts = await steps.read(self._traffic.minutes, self._traffic.hours)
        # Up to a tenth of a second of arithmetic: in the event loop it would delay every open stream.
        return await asyncio.to_thread(_stats, steps, parts)

    async def spending(self, owner: str | None, days: int) -> list[dict[str, Any]]:
        """Return what each owner (None: all) used on each of the last days, today first."""
        now = self._clock.now()
        await self._traffic.store()
        names = [utc_day(now - at * DAY_S) for at in range(days)]
        return [
            {"object": "spend", "day": day, "owner": name, **spent(sums)}
            for day, used in zip(names, await self._traffic.spending(names), strict=True)
            for name, sums in sorted(by_name([used]).items())
            if owner in (None, name)
        ]
