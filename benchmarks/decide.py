"""How long one decision takes: `python -m benchmarks.decide`. 12 arms, 64 neighbours, gate open and closed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from shared.bandit.arms import Arm, Price
from shared.bandit.build import build_policy
from shared.bandit.context import Context, Neighbour
from shared.bandit.policy import BanditSettings
from shared.bandit.sums import ArmSums, Centroids, LearnedState, Sums

ARMS, NEIGHBOURS, DIMENSION, CLUSTERS, ROUNDS = 12, 64, 256, 8, 3000


def main() -> None:
    """Print the median and the 99th percentile of `decide`, and the median of `fit`."""
    rng = np.random.default_rng(0)
    policy = build_policy(BanditSettings(max_similar_requests=NEIGHBOURS))
    arms = [Arm(f"maker/model-{i}", Price(1e-7 * (i + 1), 4e-7 * (i + 1))) for i in range(ARMS)]
    for labels in (2.0, 40.0, 2000.0):
        for gain in (0.0, 100.0):
            state = learned_state(arms, labels, gain, rng)
            posterior = policy.fit(state, arms)
            eligible = tuple(arm.id for arm in arms)
            contexts = [_context(eligible, rng) for _ in range(50)]
            took = []
            for i in range(ROUNDS):
                start = time.perf_counter()
                policy.decide(posterior, contexts[i % 50], eligible, rng)
                took.append(time.perf_counter() - start)
            fits = [_timed(lambda state=state: policy.fit(state, arms)) for _ in range(50)]
            print(
                f"{labels:6.0f} labels an arm, gate {'open' if posterior.local_gate else 'shut'}: "
                f"decide median {1e3 * np.median(took):.3f} ms, p99 {1e3 * np.quantile(took, 0.99):.3f} ms, "
                f"fit median {1e3 * np.median(fits):.3f} ms"
            )


def _timed(call: object) -> float:
    start = time.perf_counter()
    call()  # type: ignore[operator]
    return time.perf_counter() - start


def learned_state(arms: list[Arm], labels: float, gain: float, rng: np.random.Generator) -> LearnedState:
    """Return a state in which each arm has so many labels, and neighbours have gained so much."""

    def sums() -> Iterator[Sums]:
        for _ in range(CLUSTERS):
            n, quality = labels / CLUSTERS, rng.uniform(0.5, 0.9)
            yield Sums(
                labels=n, score=n * quality, score_sq=n * quality, gain=gain, gain_sq=1.0, requests=n,
                cost_usd=n * 1e-3, latency_s=n * rng.uniform(1, 3), prompt_tokens=n * 300, completion_tokens=n * 300,
            )  # fmt: skip

    learned = {}
    for arm in arms:
        clusters = {(1, i): part for i, part in enumerate(sums())}
        names = Sums.__slots__
        total = Sums(*(sum(getattr(part, name) for part in clusters.values()) for name in names))
        learned[arm.id] = ArmSums(replace(total, labels=labels), clusters)
    centres = rng.standard_normal((CLUSTERS, DIMENSION)).astype(np.float32)
    return LearnedState("1", learned, Centroids(1, centres / np.linalg.norm(centres, axis=1, keepdims=True)))


def _context(eligible: tuple[str, ...], rng: np.random.Generator) -> Context:
    vector = rng.standard_normal(DIMENSION).astype(np.float32)
    neighbours = tuple(
        Neighbour(f"id-{i}", float(rng.uniform(0.6, 1)), eligible[int(rng.integers(ARMS))], float(rng.uniform()))
        for i in range(NEIGHBOURS)
    )
    return Context(vector / np.linalg.norm(vector), neighbours)


if __name__ == "__main__":
    main()
