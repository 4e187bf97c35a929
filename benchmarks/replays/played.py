"""Choices of a player on one stream."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """Choices of a player: the arm of each request (T,), and the probability of each arm (T, K); NaN: unknown."""

    arms: NDArray[np.intp]
    chances: NDArray[np.float64]
