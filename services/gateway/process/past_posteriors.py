"""Posteriors over time: stored in the background, and shown in steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from services.gateway.models.posterior_cache import PosteriorCache, Snapshot
from services.gateway.process.time_steps import time_steps
from shared.bandit.policy import ArmSummary
from shared.ports import Clock
from shared.posterior_history import PastPosterior, PosteriorHistory, Posteriors

RECORD_S = 5.0
"""Longest time until a change is stored; what does not change is stored once a minute."""


class PastPosteriors:
    """Stores the posteriors of this gateway's snapshot, the same in all gateways, and reads those of the past.

    Raises DependencyError like `PosteriorHistory`.
    """

    def __init__(self, history: PosteriorHistory, current: PosteriorCache, clock: Clock) -> None:
        self._history = history
        self._current = current
        self._clock = clock
        self._stored: tuple[Snapshot, int] | None = None

    async def record(self) -> None:
        """Store the current posteriors, unless they are stored for this minute."""
        snapshot, minute = self._current.snapshot, int(self._clock.now()) // 60
        if snapshot is None or self._current.stale or (snapshot, minute) == self._stored:
            return
        await self._history.note(minute, {one.arm: _past(one) for one in snapshot.posterior.summary()})
        self._stored = snapshot, minute

    async def over_time(self, minutes: int, step: int) -> dict[str, Any]:
        """Return the posteriors of the last `minutes`, those at the end of each step of `step` minutes."""
        steps = time_steps(self._clock.now(), minutes, step)
        parts = await steps.read(self._history.minutes, self._history.hours)
        return {
            "object": "posteriors",
            **steps.view(),
            "data": [{"at": at, "arms": msgspec.to_builtins(_last(of))} for at, of in steps.split(parts)],
        }


def _past(one: ArmSummary) -> PastPosterior:
    return PastPosterior(one.quality, one.quality_low, one.quality_high, one.labels)


def _last(parts: Sequence[Posteriors]) -> Posteriors:
    """Return the last posteriors that were stored in a step."""
    return next((part for part in reversed(parts) if part), {})
