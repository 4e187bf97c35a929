"""Small learned states to test policies on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple

import numpy as np

from shared.bandit.arms import Arm, Price
from shared.bandit.context import Vector
from shared.bandit.kinds import Kinds
from shared.bandit.sums import ArmSums, LearnedState, Sums
from shared.bandit.traits import EXTRA_DIMENSION

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


def kinds_at(*centres: Sequence[float], counts: Sequence[float] = (), generation: int = 1) -> Kinds:
    """Return kinds with these centres (any length) and ids 0, 1, ...; each of 10 requests if `counts` is not given.

    The requests have no traits.
    """
    vectors = np.pad(np.array(centres, dtype=np.float64), ((0, 0), (0, EXTRA_DIMENSION)))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    sizes = np.array(counts, dtype=np.float64) if counts else np.full(len(vectors), 10.0)
    ids = tuple(range(len(vectors)))
    return Kinds(generation, "test", int(sizes.sum()), len(ids), ids, sizes, vectors * sizes[:, None])


def unit(*vector: float) -> Vector:
    """Return a unit vector."""
    values = np.array(vector, dtype=np.float32)
    return np.asarray(values / np.linalg.norm(values), dtype=np.float32)


def by_kind(*sums: Sums | None, generation: int = 1) -> ArmSums:
    """Return an arm's sums with these in kinds 0, 1, ..., and their total."""
    known = [astuple(one) for one in sums if one is not None]
    total = Sums(*map(sum, zip(*known, strict=True)))
    return ArmSums(total, {(generation, kind): one for kind, one in enumerate(sums) if one is not None})
