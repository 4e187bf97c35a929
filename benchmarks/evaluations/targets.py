"""Target policies: a single arm, the uniform choice, and the product's policy with other weights or exploration.

Weights act at decision time only, so a target with other weights is computed exactly from the recorded beliefs:
utility mean and draw's sd follow from them, the probabilities from these. It answers "what would these settings have
chosen, knowing what was known then"; what they would have learned instead only a replay can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.evaluations.log import Log
from shared.bandit.arms import ArmId
from shared.bandit.decision import Weights
from shared.bandit.exploration import SMALLEST_SD, bounded, explored_bounds
from shared.bandit.off_policy import REPLICATES, Choices, Estimate, Support, estimate, requests_needed, support
from shared.bandit.propensity import propensities

Floats = NDArray[np.float64]

MEASURES = ("utility", "quality", "cost_usd")
CHANGEABLE = {"FEEDBACK_WEIGHT": "quality", "LATENCY_WEIGHT": "latency", "COST_WEIGHT": "cost"}
RATE = "EXPLORATION_RATE"
MORE_EXPLORATION = (0.3, 1.0)
SAMPLE = 2000
"""Latest requests from which is estimated what more exploration would log."""


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A policy on the requests of `log`: its probabilities (n, K), and the weights of its utility."""

    name: str
    log: Log
    chances: Floats
    weights: Weights


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """Estimates of a target; none when the log supports too little. Utilities use the target's weights.

    Then `needed` is the number of requests like those of the log that would do, None for more than a million; and
    `needed_at` the same for logs at other values of EXPLORATION_RATE.
    """

    target: str
    support: Support
    estimates: Mapping[str, Mapping[str, Estimate]]
    needed: int | None = None
    needed_at: Mapping[float, int | None] = field(default_factory=dict)


def fixed(log: Log, arm: ArmId, weights: Weights) -> Target:
    """Always the same arm, on the requests for which it was eligible."""
    column = log.arms.index(arm)
    log = log.take(log.eligible[:, column])
    chances = np.zeros(log.propensity.shape)
    chances[:, column] = 1.0
    return Target(f"always {arm}", log, chances, weights)


def uniform(log: Log, weights: Weights) -> Target:
    """Return the uniform choice among eligible arms."""
    return Target("uniform random", log, log.eligible / log.eligible.sum(axis=1, keepdims=True), weights)


def other_settings(
    log: Log, changes: Mapping[str, float], logged_rate: float, progress: Callable[[int, int], None]
) -> Target:
    """Return the logged policy with changed settings (`settings_weights`), the others as at the end of the log.

    A draw's sd grows with the root of EXPLORATION_RATE; one that was raised to its floor is taken for the floor. The
    explored share is kept within the bounds that hold at that rate.
    """
    rate = changes.get(RATE, logged_rate)
    weights = settings_weights(log.weights, changes)
    scale = np.sqrt(changes[RATE] / logged_rate) if RATE in changes and logged_rate > 0 else 1.0
    sds = log.draw_sd if scale == 1.0 else np.where(scale == 0, 0.0, np.maximum(log.draw_sd * scale, SMALLEST_SD))
    utility = weights.quality * log.quality + weights.latency * log.speed_term + weights.cost * log.cost_term
    chances, known = np.zeros(utility.shape), dict[bytes, Floats]()
    for t, eligible in enumerate(log.eligible):
        draw = np.stack((utility[t, eligible], weights.quality * sds[t, eligible]))
        similar = log.similar[t]
        key = draw.tobytes() + similar.tobytes()  # many requests between two refreshes are decided alike
        if key not in known:
            known[key] = _within_bounds(propensities(draw[0], draw[1]), draw[0], rate, similar)
        chances[t, eligible] = known[key]
        if t % 500 == 0 or t + 1 == len(log):
            progress(t + 1, len(log))
    name = " ".join(f"{name}={value:g}" for name, value in changes.items())
    return Target(name, log, chances, weights)


def with_needed(verdict: Verdict, target: Target, logged_rate: float) -> Verdict:
    """Return the verdict of a refused target with the number of requests that would support it."""
    log = target.log
    latest = np.arange(len(log)) >= len(log) - SAMPLE
    needed_at = {}
    for rate in MORE_EXPLORATION:
        if rate > logged_rate and len(log):
            explored = other_settings(log.take(latest), {RATE: rate}, logged_rate, lambda *_: None)
            choices = Choices(explored.chances, target.chances[latest], log.chosen[latest])
            needed_at[rate] = requests_needed(choices)
    choices = Choices(log.propensity, target.chances, log.chosen)
    return replace(verdict, needed=requests_needed(choices), needed_at=needed_at)


def _within_bounds(chances: Floats, utility: Floats, rate: float, similar: Floats) -> Floats:
    if np.isnan(similar).any():
        return chances
    limits = explored_bounds(rate, len(chances), float(similar[0]), float(similar[1]))
    return np.array(bounded(chances.tolist(), int(utility.argmax()), limits))


def settings_weights(weights: Weights, changes: Mapping[str, float]) -> Weights:
    """Return the weights with these changes. Raises ValueError for a setting that needs relearning."""
    unknown = set(changes) - set(CHANGEABLE) - {RATE}
    if unknown:
        can = ", ".join((*CHANGEABLE, RATE))
        raise ValueError(
            f"{', '.join(sorted(unknown))}: a log can judge {can} only; "
            "the others need a replay of recorded outcomes (docs/evaluation.md)"
        )
    return replace(weights, **{CHANGEABLE[name]: value for name, value in changes.items() if name in CHANGEABLE})


def utility_of(log: Log, weights: Weights, quality: Floats, cost_usd: Floats, latency_s: Floats) -> Floats:
    """Return the utility of outcomes or of expected outcomes."""
    cost, speed = cost_usd / log.dearest_usd, 1.0 - latency_s / log.slowest_s
    return np.asarray(weights.quality * quality + weights.latency * speed + weights.cost * cost, dtype=np.float64)


def judge(
    target: Target, rng: np.random.Generator, replicates: int = REPLICATES, measures: Sequence[str] = MEASURES
) -> Verdict:
    """Return the estimates of a target."""
    log, weights = target.log, target.weights
    choices = Choices(log.propensity, target.chances, log.chosen)
    known = support(choices)
    if known.refusal is not None:
        return Verdict(target.name, known, {})
    outcomes = {
        "utility": (
            utility_of(log, weights, log.score, log.paid_usd, log.took_s),
            utility_of(log, weights, log.quality, log.cost_usd, log.latency_s),
        ),
        "quality": (log.score, log.quality),
        "cost_usd": (log.paid_usd, log.cost_usd),
    }
    return Verdict(
        target.name,
        known,
        {measure: estimate(choices, *outcomes[measure], rng, replicates) for measure in measures},
    )
