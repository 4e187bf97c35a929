"""Port of the posteriors over time; errors are those of `shared.ports`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from shared.bandit.arms import ArmId


class PastPosterior(Struct, frozen=True):
    """Posterior of the quality of an arm at one time: mean, 95 % interval, and ratings, weighted by age."""

    quality: float
    quality_low: float
    quality_high: float
    labels: float


Posteriors = Mapping[ArmId, PastPosterior]


class PosteriorHistory(Protocol):
    """Posteriors of all arms by time: the last ones of each minute, kept for a day, and of each hour."""

    async def note(self, minute: int, posteriors: Posteriors) -> None:
        """Store the posteriors of a minute (Unix time / 60), in place of earlier ones of it and of its hour."""

    async def minutes(self, first: int, number: int) -> list[Posteriors]:
        """Return the posteriors of so many minutes from `first` (Unix time / 60) on; empty where none were stored."""

    async def hours(self, first: int, number: int) -> list[Posteriors]:
        """Return the posteriors of so many hours from `first` (Unix time / 3600) on."""
