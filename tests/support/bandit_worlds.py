"""Small learned states to test policies on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from shared.bandit.arms import Arm, Price
from shared.bandit.sums import ArmSums, LearnedState, Sums

A, B, C = "maker/a", "maker/b", "other/c"
CHEAP, DEAR = Price(1e-7, 1e-7), Price(1e-5, 1e-5)
ARMS = (Arm(A), Arm(B), Arm(C))


def rated(*scores: float, requests: float | None = None, **more: float) -> Sums:
    """Return the sums of these ratings."""
    n = len(scores)
    return Sums(
        labels=n,
        score=float(np.sum(scores)),
        score_sq=float(np.sum(np.square(scores))),
        requests=n if requests is None else requests,
        **more,
    )


def state(sums: Mapping[str, Sums], version: str = "1") -> LearnedState:
    """Return a state with these totals."""
    return LearnedState(version, {arm: ArmSums(total) for arm, total in sums.items()})


def generator(seed: int = 0) -> np.random.Generator:
    """Return a seeded generator."""
    return np.random.default_rng(seed)


def shares(chosen: Sequence[str]) -> dict[str, float]:
    """Return the share of each arm among the choices."""
    return {arm: chosen.count(arm) / len(chosen) for arm in set(chosen)}
