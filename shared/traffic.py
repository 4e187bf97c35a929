"""Port of the figures of the traffic; errors are those of `shared.ports`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

Figures = Mapping[str, int]
"""Sums by field: `<measure>|<arm>`, or `<measure>|<owner>` of the spending (`shared.schemas.figures`)."""


class Traffic(Protocol):
    """Sums of recorded requests by time, and the scores that they got since.

    Each gateway collects the figures of its new records, and adds them to those of all once a second. Adding them with
    each record, for which answers wait, took Redis four times as long (194 instead of 50 us). A gateway that is killed
    loses the figures of its last second.
    """

    async def store(self) -> None:
        """Add what this gateway has collected to the figures of all."""

    async def minutes(self, first: int, number: int) -> list[Figures]:
        """Return the figures of so many minutes from `first` (Unix time / 60) on; kept for a day."""

    async def hours(self, first: int, number: int) -> list[Figures]:
        """Return the figures of so many hours from `first` (Unix time / 3600) on."""

    async def spending(self, days: Sequence[str]) -> list[Figures]:
        """Return what each owner used on these UTC days."""
