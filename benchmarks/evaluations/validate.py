"""Validation: coverage of the intervals, measured on logs whose every outcome is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.evaluations.targets import Target, fixed, judge, other_settings, uniform, utility_of
from benchmarks.evaluations.worlds import WORLDS, Known
from deploy.simulator.recorded_outcomes import Outcomes
from shared.bandit.off_policy import ESTIMATORS

Floats = NDArray[np.float64]

CHANGES = ({"COST_WEIGHT": -0.3}, {"EXPLORATION_RATE": 0.4}, {"EXPLORATION_RATE": 0.0})
REPLICATES = 400


@dataclass(frozen=True, slots=True)
class Coverage:
    """Coverage of one target on many logs of one kind: of its utility and its difference from the logged policy.

    Attributes:
        runs: logs.
        refused: logs that were too thin; the rest are the `judged` ones that the other figures are of.
        covered, difference_covered: share of these whose interval held the truth.
        bias: mean error.
        error: root of the mean squared error.
        width: mean half width of the interval.
    """

    log: str
    target: str
    estimator: str
    runs: int
    refused: int
    covered: float
    difference_covered: float
    bias: float
    error: float
    width: float

    @property
    def judged(self) -> int:
        """Number of logs with an estimate."""
        return self.runs - self.refused


def validate(outcomes: Outcomes, runs: int, requests: int, progress: Callable[[int, int], None]) -> list[Coverage]:
    """Return one row per kind of log, target and estimator."""
    found: dict[tuple[str, str], list[Floats | None]] = {}
    for number, (seed, name) in enumerate((seed, name) for seed in range(runs) for name in WORLDS):
        known = WORLDS[name](outcomes, requests, seed)
        rng = np.random.default_rng([seed, 7])
        for role, target in _targets(known):
            found.setdefault((name, role), []).append(_checked(target, known, rng))
        progress(number + 1, runs * len(WORLDS))
    return [
        _coverage(name, role, estimator, [None if run is None else run[i] for run in checks])
        for (name, role), checks in found.items()
        for i, estimator in enumerate(ESTIMATORS)
    ]


def pooled(lines: Sequence[Coverage], estimator: str) -> tuple[int, float, float]:
    """Return of one estimator: judged runs, and the shares of them whose intervals held value and difference."""
    own = [line for line in lines if line.estimator == estimator and line.judged]
    judged = sum(line.judged for line in own)
    held = [sum(getattr(line, name) * line.judged for line in own) for name in ("covered", "difference_covered")]
    return judged, held[0] / max(judged, 1), held[1] / max(judged, 1)


def _targets(known: Known) -> Iterator[tuple[str, Target]]:
    log, weights = known.log, known.settings.weights
    truth = utility_of(log, weights, known.scores, known.costs, np.zeros_like(known.costs)).mean(axis=0)
    yield "uniform random", uniform(log, weights)
    yield "always the best", fixed(log, log.arms[int(truth.argmax())], weights)
    yield "always the worst", fixed(log, log.arms[int(truth.argmin())], weights)
    for changes in CHANGES:
        target = other_settings(log, changes, known.settings.exploration_rate, lambda *_: None)
        yield target.name, target


def _checked(target: Target, known: Known, rng: np.random.Generator) -> Floats | None:
    """Return of each estimator: value held, difference held, error, half width; None where it was refused."""
    verdict = judge(target, rng, REPLICATES, measures=("utility",))
    if not verdict.estimates:
        return None
    log = target.log
    utility = utility_of(log, target.weights, known.scores, known.costs, log.took_s[:, None])
    value = float((target.chances * utility).sum(axis=1).mean())
    logged = float((log.propensity * utility).sum(axis=1).mean())
    figures = []
    for estimator in ESTIMATORS:
        found = verdict.estimates["utility"][estimator]
        held = found.value.covers(value), found.difference.covers(value - logged)
        figures.append([*held, found.value.value - value, (found.value.high - found.value.low) / 2])
    return np.array(figures, dtype=np.float64)


def _coverage(log: str, target: str, estimator: str, checks: list[Floats | None]) -> Coverage:
    judged = [check for check in checks if check is not None]
    figures = np.array(judged) if judged else np.full((1, 4), np.nan)
    covered, difference, bias, width = figures.mean(axis=0).tolist()
    return Coverage(
        log=log,
        target=target,
        estimator=estimator,
        runs=len(checks),
        refused=len(checks) - len(judged),
        covered=covered,
        difference_covered=difference,
        bias=bias,
        error=float(np.sqrt((figures[:, 2] ** 2).mean())),
        width=width,
    )
