"""Choices of a player on one stream."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """Cost of what happens beside the users' path, by request, (T,) in USD: other models' answers, and the judge."""

    shadows: Floats
    judge: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """Choices of a player: the arm of each request (T,), and the probability of each arm (T, K); NaN: unknown.

    `beside` is None for a player without evaluations.
    """

    arms: NDArray[np.intp]
    chances: Floats
    beside: Beside | None = None
