"""Paired differences of one player to the others, by seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.replays.figures import half_interval

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of paired differences with half of its 95 % interval, and the worst seed."""

    mean: float
    half: float
    worst: float

    @property
    def worse(self) -> bool:
        """Whether the whole interval lies below 0."""
        return self.mean + self.half < 0

    @property
    def better(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.mean - self.half > 0

    def __str__(self) -> str:
        """Return mean, interval and worst seed."""
        return f"{self.mean:+.1f} ± {self.half:.1f} (worst {self.worst:+.0f})"


def difference(ours: Floats, theirs: Floats) -> Difference:
    """Return the difference of two players over the same seeds."""
    gaps = ours - theirs
    return Difference(float(gaps.mean()), half_interval(gaps), float(gaps.min()))


def differences(utility: Mapping[str, Floats], player: str) -> dict[str, Difference]:
    """Return the player's difference to every other; `utility` holds one value a seed."""
    return {name: difference(utility[player], other) for name, other in utility.items() if name != player}
