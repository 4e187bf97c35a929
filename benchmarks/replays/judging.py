"""Judge and race of a replay: the product's own plan, with recorded outcomes in place of calls and of the judge.

The judge gives every answer its recorded score, or what a worse judge would make of it. A judge's call is taken to cost
what an answer of the median model costs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.replays.played import Beside
from benchmarks.replays.streams import Condition, Stream
from shared.bandit.arms import ArmId
from shared.bandit.context import Context
from shared.bandit.decision import Decision, Weights
from shared.bandit.kinds import KindId
from shared.bandit.learning import outcome_sums, score_sums
from shared.bandit.posterior import GaussianPosterior
from shared.bandit.racing import EvaluationTerms, plan_evaluation
from shared.bandit.sources import Source
from shared.settings import Settings

Judge = Callable[[float, int, np.random.Generator], float]
"""From an answer's score, its arm's number less that of one arm at random, and random numbers to the judge's score."""

NOISE_SD, BIAS = 0.25, 0.1
SERVED_SHARE = 0.3
"""Share of the answers that a judge scores where there is no race."""
MOST_WAITING: int = Settings.model_fields["EVALUATION_MAX_WAITING"].default
"""Evaluations that may wait for their verdicts."""


def _exact(score: float, _arm: int, _rng: np.random.Generator) -> float:
    return score


def _noisy(score: float, _arm: int, rng: np.random.Generator) -> float:
    return float(np.clip(score + rng.normal(0, NOISE_SD), 0, 1))


def _biased(score: float, arm: int, _rng: np.random.Generator) -> float:
    return min(1.0, score + BIAS * (arm == 0))


def _both(score: float, arm: int, rng: np.random.Generator) -> float:
    return float(np.clip(score + rng.normal(0, NOISE_SD) + BIAS * (arm == 0), 0, 1))


def _always(_score: float, _arm: int, _rng: np.random.Generator) -> float:
    return 1.0


def _inverted(score: float, arm: int, _rng: np.random.Generator) -> float:
    return 1.0 - score if arm == 0 else score


NO_JUDGE = "none"
JUDGES: Mapping[str, Judge] = {
    "exact": _exact,
    "noisy": _noisy,
    "biased": _biased,
    "both": _both,
    "always-1": _always,
    "inverted": _inverted,
}
"""Exact; with noise of sd .25; .1 too much for one arm; both; always 1; the opposite for one arm."""


class Evaluator:
    """Evaluates the requests of one run."""

    def __init__(
        self, stream: Stream, arms: Sequence[ArmId], condition: Condition, weights: Weights, seed: int
    ) -> None:
        self._stream = stream
        self._index = {arm: i for i, arm in enumerate(arms)}
        self._judge = JUDGES[condition.judge]
        self._race = condition.race
        self._weights = weights
        self._rng = np.random.default_rng([seed, 11])
        self._special = int(self._rng.integers(len(arms)))
        self._judge_usd = float(np.median(stream.costs.mean(axis=0)))
        requests = len(stream.rows)
        self.beside = Beside(np.zeros(requests), np.zeros(requests))
        self._waiting: deque[tuple[int, list[tuple[ArmId, dict[str, int]]]]] = deque()

    def evaluate(
        self, t: int, decision: Decision, posterior: GaussianPosterior, context: Context, kind: KindId | None
    ) -> None:
        """Evaluate request `t`, if that is planned; what it adds to the sums is known when its verdict comes."""
        asked = self._asked(decision, posterior, context, t) if len(self._waiting) < MOST_WAITING else None
        if asked is None:
            return
        self._waiting.append((t, list(self._evaluated(t, decision.arm, asked, kind))))

    def finished(self, request: int) -> Iterator[tuple[ArmId, dict[str, int]]]:
        """Yield what evaluations of requests up to this one add to the sums of each arm."""
        while self._waiting and self._waiting[0][0] <= request:
            yield from self._waiting.popleft()[1]

    def _evaluated(
        self, t: int, served: ArmId, asked: tuple[ArmId, ...], kind: KindId | None
    ) -> Iterator[tuple[ArmId, dict[str, int]]]:
        self.beside.judge[t] = self._judge_usd
        for arm in (served, *asked):
            i = self._index[arm]
            score = self._judge(float(self._stream.scores[t, i]), i - self._special, self._rng)
            yield arm, score_sums(source=Source.JUDGE, score=score, kind=kind)
            if arm != served:
                self.beside.shadows[t] += self._stream.costs[t, i]
                yield arm, answer_sums(self._stream, t, i, kind, served=False)

    def _asked(
        self, decision: Decision, posterior: GaussianPosterior, context: Context, t: int
    ) -> tuple[ArmId, ...] | None:
        """Return the models that answer beside the one that serves; None where the request is not evaluated."""
        if not self._race:
            return () if self._rng.random() < SERVED_SHARE else None
        eligible = [arm for arm, i in self._index.items() if self._stream.eligible[t, i]]
        plan = plan_evaluation(
            posterior,
            context,
            eligible,
            decision,
            self._rng,
            weights=self._weights,
            terms=EvaluationTerms(),
            judge_usd=self._judge_usd,
        )
        return None if plan is None else plan.arms


class Answers(Protocol):
    """Recorded answers: costs in USD, and tokens, by prompt and arm."""

    @property
    def costs(self) -> NDArray[Any]:
        """USD, (n, K)."""

    @property
    def prompt_tokens(self) -> NDArray[Any]:
        """(n, K)."""

    @property
    def completion_tokens(self) -> NDArray[Any]:
        """(n, K)."""


def answer_sums(answers: Answers, row: int, arm: int, kind: KindId | None, *, served: bool = True) -> dict[str, int]:
    """Return what the recorded answer of an arm adds to its sums."""
    return outcome_sums(
        cost_usd=float(answers.costs[row, arm]),
        latency_s=1.0,
        prompt_tokens=int(answers.prompt_tokens[row, arm]),
        completion_tokens=int(answers.completion_tokens[row, arm]),
        kind=kind,
        served=served,
    )
