"""Microbenchmark of a decision and the steps around it: `python -m benchmarks.decide`. One thread, no server.

Prints microseconds per call, minimum and median of many passes over the same prompts. The minimum is the cost of the
code, the median its cost on this machine now.

    decide       the policy, with the neighbours' gate closed and open, after few and after many ratings
    neighbours   from Qdrant's JSON to validated neighbours
    record       the record of the request as JSON
    worth        the expected utility of the decision
    fit          the posterior, which is not on the request path
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from shared.bandit.arms import Arm, Price
from shared.bandit.build import build_policy
from shared.bandit.context import Context, Neighbour
from shared.bandit.decision import Decision
from shared.bandit.evaluation import worth_of
from shared.bandit.kinds import MAX_KINDS, Kinds
from shared.bandit.policy import BanditSettings, Policy, Posterior
from shared.bandit.sums import ArmSums, LearnedState, Sums
from shared.bandit.traits import EXTRA_DIMENSION
from shared.schemas.records import Attempt, Outcome, RequestRecord, Status
from shared.storage import qdrant_answers

NEIGHBOURS, DIMENSION, PROMPTS, PASSES = 50, 256, 50, 100
TRAITS = ("system:5d2f00c2a1b7e94c", "tools:0a1b2c3d")
SIZES = (5, 12)
STATES = ((40.0, 0.0), (40.0, 100.0), (2000.0, 0.0), (2000.0, 100.0))
"""Ratings of each arm, and the gain of neighbours: above 0 the gate is open."""


def main() -> None:
    """Print the figures for 5 and for 12 arms."""
    for size in SIZES:
        print(f"{size} arms, {NEIGHBOURS} neighbours: us, minimum and median")
        for name, took in _figures(size):
            print(f"  {name:<40} {1e6 * took.min():7.1f} {1e6 * np.median(took):7.1f}")


def _figures(size: int) -> Iterator[tuple[str, NDArray[np.float64]]]:
    rng = np.random.default_rng(0)
    policy = build_policy(BanditSettings(max_similar_requests=NEIGHBOURS))
    arms = [Arm(f"maker/model-{i}", Price(1e-7 * (i + 1), 4e-7 * (i + 1))) for i in range(size)]
    eligible = tuple(arm.id for arm in arms)
    answers = [_answer(eligible, rng) for _ in range(PROMPTS)]
    contexts = [Context(_vector(rng), _neighbours(answer), TRAITS) for answer in answers]
    decisions = []
    for labels, gain in STATES:
        state = learned_state(arms, labels, gain, rng)
        posterior = policy.fit(state, arms)
        name = f"decide, {labels:.0f} ratings an arm, gate {'open' if posterior.local_gate else 'shut'}"
        yield name, _timed(partial(_decide, policy, posterior, eligible, rng), contexts)
        decisions = [policy.decide(posterior, context, eligible, rng) for context in contexts]
    yield "neighbours", _timed(_neighbours, answers)
    outcome = Outcome(
        Status.ANSWERED, eligible[0], 1e-3, "upstream", 300, 300, 0.004, 1.2, None, streamed=False,
        attempts=(Attempt(eligible[0], None, 1.2, spent=True),),
    )  # fmt: skip
    records = [
        RequestRecord(str(uuid.uuid4()), "public", "owner", 1e9, None, "model", decision, outcome)
        for decision in decisions
    ]
    yield "record", _timed(lambda record: record.to_json(), records)
    yield "worth", _timed(lambda decision: worth_of(decision, eligible), decisions)
    yield "fit", _timed(lambda state: policy.fit(state, arms), [state])


def _timed(call: Callable[[Any], object], arguments: Sequence[Any]) -> NDArray[np.float64]:
    """Return the seconds per call of each pass over all arguments, shape (PASSES,)."""
    took = []
    for _ in range(PASSES):
        start = time.perf_counter()
        for argument in arguments:
            call(argument)
        took.append((time.perf_counter() - start) / len(arguments))
    return np.array(took)


def _decide(
    policy: Policy[Any], known: Posterior, eligible: tuple[str, ...], rng: np.random.Generator, context: Context
) -> Decision:
    return policy.decide(known, context, eligible, rng)


def learned_state(arms: list[Arm], labels: float, gain: float, rng: np.random.Generator) -> LearnedState:
    """Return a state in which each arm has `labels` ratings and neighbours have the gain `gain`."""

    def sums() -> Iterator[Sums]:
        for _ in range(MAX_KINDS):
            n, quality = labels / MAX_KINDS, rng.uniform(0.5, 0.9)
            yield Sums(
                labels=n, score=n * quality, score_sq=n * quality, gain=gain, gain_sq=1.0, requests=n,
                cost_usd=n * 1e-3, latency_s=n * rng.uniform(1, 3), prompt_tokens=n * 300, completion_tokens=n * 300,
            )  # fmt: skip

    learned = {}
    for arm in arms:
        by_kind = {(1, i): part for i, part in enumerate(sums())}
        names = Sums.__slots__
        total = Sums(*(sum(getattr(part, name) for part in by_kind.values()) for name in names))
        learned[arm.id] = ArmSums(replace(total, labels=labels), by_kind)
    requests = np.full(MAX_KINDS, labels * len(arms) / MAX_KINDS)
    centres = rng.standard_normal((MAX_KINDS, DIMENSION + EXTRA_DIMENSION))
    return LearnedState(
        "1", learned, Kinds(1, "", int(requests.sum()), MAX_KINDS, tuple(range(MAX_KINDS)), requests, centres)
    )


def _vector(rng: np.random.Generator) -> NDArray[np.float32]:
    vector = rng.standard_normal(DIMENSION).astype(np.float32)
    return vector / np.linalg.norm(vector)


def _neighbours(answer: bytes) -> tuple[Neighbour, ...]:
    return qdrant_answers.neighbours(qdrant_answers.found(answer), NEIGHBOURS)


def _answer(eligible: tuple[str, ...], rng: np.random.Generator) -> bytes:
    """Return a response of Qdrant, nearest points first."""
    points = [
        {
            "id": str(uuid.UUID(bytes=rng.bytes(16))),
            "version": 7,
            "score": similarity,
            "payload": {
                "arm": eligible[int(rng.integers(len(eligible)))],
                "score": float(rng.uniform()),
                "created_at": 1_800_000_000,
            },
        }
        for similarity in sorted(rng.uniform(0.7, 1, NEIGHBOURS).tolist(), reverse=True)
    ]
    return orjson.dumps({"result": {"points": points}, "status": "ok", "time": 0.001})


if __name__ == "__main__":
    main()
