"""Off-policy evaluation: value of another policy on logged requests, with intervals, or a refusal.

    w_t   = pi_t(a_t) / p_t(a_t)                        p logged, pi target, a_t what was chosen, r_t what came of it
    IPS   = mean w r                                    unbiased, wide
    SNIPS = sum w r / sum w                             narrower, bias of order 1 / n
    DR    = mean [sum_a pi(a) m(a) + w (r - m(a_t))]    unbiased whatever the model m, narrow where m is good
    DRos  = DR with lambda w / (w^2 + lambda) for w     narrower still, biased towards m

m is what was believed before the outcome was known, so that w (r - m) stays a martingale difference although the log
learns: DR needs no cross-fitting. Intervals are percentiles of a circular bootstrap of blocks in order of time, n^(1/3)
long, because what a log chooses depends on what it has seen. That of DRos has the width of DR's: what shrinking saves
in variance it may bring back as a bias that the log does not show, for m has learned from these very outcomes and
shares their luck.

References: Horvitz and Thompson (1952); Swaminathan and Joachims (2015); Dudik, Langford and Li (2011); Su et al.,
Doubly robust off-policy evaluation with shrinkage (2020); Politis and Romano (1992).
Assumed, and not checked: that p is exact, and that what a request is worth does not depend on earlier choices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

ESTIMATORS = ("IPS", "SNIPS", "DR", "DRos")
MIN_ESS = 100.0
MAX_UNCOVERED = 0.01
COVERED_TIMES = 10.0
COVERED_RATIO = 10.0
REPLICATES = 1000
MOST_REQUESTS = 1e6
_STEP = 1.02
_INTERVAL = (0.025, 0.975)


@dataclass(frozen=True, slots=True, eq=False)
class Choices:
    """n logged choices among K arms, in order of time.

    Attributes:
        propensity: probabilities with which the log chose, (n, K); 0 for arms that were not eligible.
        target: those with which the target would choose.
        chosen: column of the arm that was chosen, (n,).
    """

    propensity: Floats
    target: Floats
    chosen: Ints

    def __len__(self) -> int:
        """Return n."""
        return len(self.chosen)

    @property
    def weights(self) -> Floats:
        """The importance weights w, (n,)."""
        rows = np.arange(len(self))
        return np.asarray(self.target[rows, self.chosen] / self.propensity[rows, self.chosen], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Support:
    """Support of a target policy by a log.

    Attributes:
        requests: in the log.
        ess: effective sample size (sum w)^2 / sum w^2 of the weights as they came out.
        expected_ess: n / mean sum_a pi^2 / p: the same by the probabilities alone. Weights that are rare and huge show
            here even where none has come out, and `ess` looks fine for that very reason.
        uncovered: share of the target's choices which the log would make less than ten times in all its requests, and
            the target more than ten times as often.
    """

    requests: int
    ess: float
    expected_ess: float
    uncovered: float

    @property
    def refusal(self) -> str | None:
        """Why no estimate should be made, or None."""
        if self.uncovered > MAX_UNCOVERED:
            return (
                f"the log practically never makes {self.uncovered:.1%} of the target's choices, more than "
                f"{MAX_UNCOVERED:.0%}"
            )
        if min(self.ess, self.expected_ess) < MIN_ESS:
            return (
                f"effective sample size {self.ess:.0f} (expected: {self.expected_ess:.0f}) of {MIN_ESS:.0f} needed: "
                "the log makes the target's choices too rarely"
            )
        return None


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float

    def covers(self, truth: float) -> bool:
        """Whether `truth` is in the interval."""
        return self.low <= truth <= self.high


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimate by one estimator: the target, and the target minus the logged policy."""

    value: Interval
    difference: Interval


def support(choices: Choices) -> Support:
    """Return the support of the target by the log."""
    propensity, target, weights, n = choices.propensity, choices.target, choices.weights, len(choices)
    if n == 0:
        return Support(0, 0.0, 0.0, 1.0)
    covered = (propensity >= COVERED_TIMES / n) | ((target <= COVERED_RATIO * propensity) & (propensity > 0))
    ratios = np.divide(target**2, propensity, out=np.zeros_like(target), where=covered)
    second = float(ratios.sum() / n)
    squares = float((weights**2).sum())
    return Support(
        requests=n,
        ess=float(weights.sum()) ** 2 / squares if squares > 0 else 0.0,
        expected_ess=n / second if second > 0 else 0.0,
        uncovered=float(target[~covered].sum() / n),
    )


def requests_needed(choices: Choices) -> int | None:
    """Return how many requests with such probabilities support the target; None if more than MOST_REQUESTS.

    By the probabilities alone: `ess` may be smaller by bad luck, by some per cent where it is near MIN_ESS.
    """
    propensity, target = choices.propensity, choices.target
    if not len(choices):
        return None
    possible = propensity > 0
    ratios = np.divide(target**2, propensity, out=np.zeros_like(target), where=possible)
    alike = possible & (target <= COVERED_RATIO * propensity)
    requests = MIN_ESS
    while requests <= MOST_REQUESTS:
        covered = (propensity >= COVERED_TIMES / requests) | alike
        enough = requests >= MIN_ESS * float(ratios[covered].sum()) / len(choices)
        if enough and float(target[~covered].sum()) <= MAX_UNCOVERED * len(choices):
            return math.ceil(requests)
        requests *= _STEP
    return None


def estimate(
    choices: Choices, reward: Floats, model: Floats, rng: np.random.Generator, replicates: int = REPLICATES
) -> dict[str, Estimate]:
    """Return the estimates of all estimators; `support` tells whether to trust them.

    Args:
        choices: at least one.
        reward: what came of each, (n,).
        model: what was expected of every arm before, (n, K); anything where the target is 0 and nothing was chosen.
        rng: for the bootstrap.
        replicates: of the bootstrap.
    """
    target, chosen, weights = choices.target, choices.chosen, choices.weights
    direct = np.where(target > 0, target * model, 0.0).sum(axis=1)
    residual = reward - model[np.arange(len(chosen)), chosen]
    shrunk = shrink_weights(weights, best_shrinkage(weights, direct, residual))
    columns = np.column_stack(
        (weights * reward, weights, direct + weights * residual, direct + shrunk * residual, reward)
    )
    values, logged = _values(columns.mean(axis=0)[None])
    sampled, sampled_logged = _values(block_means(columns, rng, replicates))
    differences, sampled_differences = values - logged[:, None], sampled - sampled_logged[:, None]
    found = {
        name: Estimate(_interval(values[0, i], sampled[:, i]), _interval(differences[0, i], sampled_differences[:, i]))
        for i, name in enumerate(ESTIMATORS)
    }
    return found | {"DRos": _moved(found["DR"], float(values[0, 3]), float(differences[0, 3]))}


def shrink_weights(weights: Floats, shrinkage: float) -> Floats:
    """Return lambda w / (w^2 + lambda): w for infinity, 0 for 0."""
    if shrinkage == 0:
        return np.zeros_like(weights)
    return np.asarray(weights / (1 + weights**2 / shrinkage), dtype=np.float64)


def best_shrinkage(weights: Floats, direct: Floats, residual: Floats) -> float:
    """Return the lambda of the smallest estimated error; infinity (none) is among the candidates.

    error = variance + bias^2 + variance of the estimate of that bias. Without the last term a model that happens to fit
    would be trusted altogether, though it has learned from these very outcomes and shares their luck.
    """
    largest = max(1.0, float(weights.max()) ** 2)
    best, least = np.inf, np.inf
    for shrinkage in (np.inf, *np.geomspace(100.0 * largest, 0.1, 24).tolist()):
        change = shrink_weights(weights, shrinkage)
        missed = (change - weights) * residual
        error = float((direct + change * residual).var() + missed.var()) / len(weights) + float(missed.mean()) ** 2
        if error < least:
            best, least = shrinkage, error
    return best


def block_means(columns: Floats, rng: np.random.Generator, replicates: int) -> Floats:
    """Return bootstrap means of each column, (replicates, C)."""
    n = len(columns)
    length = max(1, round(n ** (1 / 3)))
    running = np.vstack((np.zeros(columns.shape[1]), np.cumsum(np.vstack((columns, columns[:length])), axis=0)))
    blocks = running[length : n + length] - running[:n]
    starts = rng.integers(n, size=(replicates, -(-n // length)))
    return np.asarray(blocks[starts].mean(axis=1) / length, dtype=np.float64)


def _values(means: Floats) -> tuple[Floats, Floats]:
    """Return the estimators, (B, 4), and the logged policy's mean, (B,), from the means of the columns."""
    weighted, weight, doubly, shrunk, logged = means.T
    normalised = np.divide(weighted, weight, out=np.full_like(weighted, np.nan), where=weight > 0)
    return np.column_stack((weighted, normalised, doubly, shrunk)), logged


def _interval(value: float, sampled: Floats) -> Interval:
    known = sampled[~np.isnan(sampled)]
    low, high = np.quantile(known, _INTERVAL) if known.size else (np.nan, np.nan)
    return Interval(float(value), float(low), float(high))


def _moved(estimate: Estimate, value: float, difference: float) -> Estimate:
    """Return the same intervals around other values."""
    pairs = ((estimate.value, value), (estimate.difference, difference))
    return Estimate(*(Interval(to, to + one.low - one.value, to + one.high - one.value) for one, to in pairs))
