"""Results of a run. Figures are medians over rounds; ratios are computed within a round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.load.measure import Sample

PROFILED = 32
"""Number of connections for the breakdown of costs."""

Cell = tuple[str, int]
"""A target's name and a number of connections."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its title and notes."""

    title: str
    note: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass
class Findings:
    """One run.

    Attributes:
        facts: of the machine and what runs on it.
        rounds: samples, by round.
        memory_mb: by process, at the end of the rounds.
        breakdown_us: microseconds a request, by part of the gateway.
        more: tables of the other parts of the bench.
        figures: what of them a target speaks of, by name.
    """

    facts: Mapping[str, str]
    rounds: list[list[Sample]] = field(default_factory=list)
    memory_mb: dict[str, float] = field(default_factory=dict)
    breakdown_us: dict[str, float] = field(default_factory=dict)
    more: list[Table] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def median(self, cell: Cell, figure: Callable[[Sample], float]) -> float:
        """Return the median of a figure over the rounds."""
        return statistics.median(figure(sample) for sample in self._of(cell))

    def against(self, cell: Cell, other: Cell, figure: Callable[[Sample, Sample], float]) -> float:
        """Return the median over the rounds of `figure` of both cells."""
        return statistics.median(figure(a, b) for a, b in zip(self._of(cell), self._of(other), strict=True))

    def cells(self) -> list[Cell]:
        """Return the measured cells, in order."""
        return [(sample.target, sample.connections) for sample in self.rounds[0]] if self.rounds else []

    def _of(self, cell: Cell) -> list[Sample]:
        return [s for samples in self.rounds for s in samples if (s.target, s.connections) == cell]
