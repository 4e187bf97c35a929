"""View of the traffic over time: which sums to read, and what they say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from services.gateway.process.traffic_figures import Sums, by_name, expected, shown, spent, total
from shared.clock import utc_day
from shared.ports import Clock
from shared.traffic import Figures, Traffic

DAY_S, HOUR_S, MINUTE_S = 86_400, 3600, 60


def _stats(parts: Sequence[Figures], start: int, step_s: int, each: int) -> dict[str, Any]:
    """Return the answer for figures from `start` on, `each` of which are one step."""
    steps = [by_name(parts[at : at + each]) for at in range(0, len(parts), each)]
    arms = by_name(parts)
    return {
        "object": "stats",
        "from": start,
        "to": start + len(steps) * step_s,
        "step_s": step_s,
        **_both(arms),
        "expected": expected(arms),
        "data": [{"at": start + at * step_s, **_both(of)} for at, of in enumerate(steps)],
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
        unit_s, read = (HOUR_S, self._traffic.hours) if step % 60 == 0 else (MINUTE_S, self._traffic.minutes)
        step_s = step * MINUTE_S
        points = -(-minutes // step)
        start = (int(self._clock.now()) // step_s - points + 1) * step_s
        each = step_s // unit_s
        await self._traffic.store()
        parts = await read(start // unit_s, points * each)
        # Up to a tenth of a second of arithmetic: in the event loop it would delay every open stream.
        return await asyncio.to_thread(_stats, parts, start, step_s, each)

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
