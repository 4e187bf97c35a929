"""Steps of time that a view shows, and the minutes or hours that are stored for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

HOUR_S, MINUTE_S = 3600, 60

T = TypeVar("T")

Read = Callable[[int, int], Awaitable[list[T]]]
"""Reads so many minutes or hours from a number (Unix time by their length) on."""


class TimeSteps(NamedTuple):
    """Steps of `step_s` seconds from `start` (Unix time) on; the last one is not over yet.

    Attributes:
        unit_s: length of a stored part, a minute or an hour.
        number: how many steps.
    """

    start: int
    step_s: int
    unit_s: int
    number: int

    @property
    def each(self) -> int:
        """How many stored parts are one step."""
        return self.step_s // self.unit_s

    async def read(self, minutes: Read[T], hours: Read[T]) -> list[T]:
        """Return all stored parts."""
        reader = hours if self.unit_s == HOUR_S else minutes
        return await reader(self.start // self.unit_s, self.number * self.each)

    def view(self) -> dict[str, int]:
        """Return the time as an answer shows it."""
        return {"from": self.start, "to": self.start + self.number * self.step_s, "step_s": self.step_s}

    def split(self, parts: Sequence[T]) -> Iterator[tuple[int, Sequence[T]]]:
        """Yield the beginning and the parts of each step."""
        for at in range(self.number):
            yield self.start + at * self.step_s, parts[at * self.each : (at + 1) * self.each]


def time_steps(now: float, minutes: int, step: int) -> TimeSteps:
    """Return the steps of `step` minutes that cover the last `minutes`."""
    step_s, number = step * MINUTE_S, -(-minutes // step)
    return TimeSteps(
        start=(int(now) // step_s - number + 1) * step_s,
        step_s=step_s,
        unit_s=HOUR_S if step % 60 == 0 else MINUTE_S,
        number=number,
    )
