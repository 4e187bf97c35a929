"""Log for off-policy evaluation: posteriors, propensities, choices and outcomes of logged requests.

Only requests that were decided at random, answered and rated count. The others are counted by reason.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.bandit.arms import ArmId
from shared.bandit.decision import ArmView, Decision, DecisionKind, Weights
from shared.schemas.records import RequestRecord

Floats = NDArray[np.float64]

BELIEFS = ("propensity", "quality", "draw_sd", "cost_term", "speed_term", "cost_usd", "latency_s")


@dataclass(frozen=True, slots=True, eq=False)
class Logged:
    """One request that counts, in a compact form: a log may have millions.

    Attributes:
        arms: the eligible arms.
        beliefs: shape (len(BELIEFS), arms); NaN for unknown values.
        chosen: the arm that was chosen and answered.
        weights: as used.
        score, cost_usd, latency_s: the outcome; an unknown cost is NaN.
        similar: requests and ratings of similar prompts, which bound the explored share; NaN if not recorded.
    """

    arms: tuple[ArmId, ...]
    beliefs: Floats
    chosen: ArmId
    weights: Weights
    score: float
    cost_usd: float
    latency_s: float
    similar: tuple[float, float] = (np.nan, np.nan)

    @staticmethod
    def of(decision: Decision, score: float, cost_usd: float, latency_s: float) -> Logged:
        """Return the compact form of a decision and its outcome. Raises ValueError without a random decision."""
        if decision.weights is None or not decision.views:
            raise ValueError("this decision was not drawn")
        arms = tuple(sys.intern(view.arm) for view in decision.views)
        beliefs = np.array([_beliefs(view) for view in decision.views]).T
        counts = decision.kind_requests, decision.kind_labels
        similar = (np.nan, np.nan) if counts[0] is None or counts[1] is None else (counts[0], counts[1])
        return Logged(arms, beliefs, decision.arm, decision.weights, score, cost_usd, latency_s, similar)


@dataclass(frozen=True, slots=True, eq=False)
class Log:
    """n requests in order of time, K arms. Matrices are (n, K), NaN where an arm was not eligible.

    Attributes:
        weights: those of the last decision.
        dearest_usd, slowest_s: expected cost of the dearest eligible arm and latency of the slowest, on the mean over
            the whole log: the units of cost and latency in a utility.
        chosen: column of the arm that was chosen and answered.
        score, paid_usd, took_s: what came of it.
        similar: requests and ratings of similar prompts, (n, 2), NaN if not recorded.
        propensity: 0 where an arm was not eligible.
        quality, draw_sd, cost_term, speed_term: what was believed.
        cost_usd, latency_s: what was expected; filled with what came of it on the mean where nothing was.
    """

    arms: tuple[ArmId, ...]
    weights: Weights
    dearest_usd: float
    slowest_s: float
    chosen: NDArray[np.intp]
    score: Floats
    paid_usd: Floats
    took_s: Floats
    similar: Floats
    propensity: Floats
    quality: Floats
    draw_sd: Floats
    cost_term: Floats
    speed_term: Floats
    cost_usd: Floats
    latency_s: Floats

    def __len__(self) -> int:
        """Return the number of requests."""
        return len(self.chosen)

    @property
    def eligible(self) -> NDArray[np.bool_]:
        """Mask of the eligible arms, shape (n, K)."""
        return ~np.isnan(self.quality)

    def take(self, rows: NDArray[np.bool_]) -> Log:
        """Return the log of these requests."""
        names = [field.name for field in fields(self) if isinstance(getattr(self, field.name), np.ndarray)]
        taken: dict[str, Any] = {name: getattr(self, name)[rows] for name in names}
        return replace(self, **taken)


def why_not(record: RequestRecord, score: float | None) -> str | None:
    """Return the reason why a request does not count, or None. All but the last three precede the draw.

    Where DEFAULT_MODEL answered because the best model was not certain enough, it had a recorded probability.
    """
    decision = record.decision
    reasons = (
        (record.shadow is not None, "shadow mode"),
        (decision.kind is DecisionKind.PINNED, "model named by the client"),
        (decision.session, "conversation kept its model"),
        (decision.terms != "", "terms of the caller's own"),
        (decision.exploration != "on", "not explored"),
        (decision.kind is DecisionKind.DEFAULT and not decision.views, "default model"),
        (not decision.views or decision.weights is None, "no probabilities recorded"),
        (decision.kind is DecisionKind.FALLBACK or record.outcome.arm != decision.arm, "another model answered"),
        (not record.rateable, "not answered"),
        (score is None, "not rated"),
    )
    return next((why for applies, why in reasons if applies), None)


class LogReader:
    """Reader of requests in any order: keeps those that count, and counts the others by reason in `left_out`."""

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()
        self._kept: list[tuple[float, Logged]] = []

    def add(self, record: RequestRecord, score: float | None) -> None:
        """Add one request with its latest rating."""
        why = why_not(record, score)
        if why is not None or score is None:
            self.left_out[why or "not rated"] += 1
            return
        outcome = record.outcome
        cost_usd = float("nan") if outcome.cost_usd is None else outcome.cost_usd
        self._kept.append((record.created_at, Logged.of(record.decision, score, cost_usd, outcome.upstream_s)))

    def log(self) -> Log | None:
        """Return the log in order of time; None when no request counts."""
        self._kept.sort(key=lambda pair: pair[0])
        return make_log([logged for _, logged in self._kept]) if self._kept else None


def make_log(requests: Sequence[Logged]) -> Log:
    """Return the log of requests that are in order of time."""
    arms = tuple(sorted({arm for request in requests for arm in request.arms}))
    index = {arm: i for i, arm in enumerate(arms)}
    beliefs = np.full((len(BELIEFS), len(requests), len(arms)), np.nan)
    for t, request in enumerate(requests):
        beliefs[:, t, [index[arm] for arm in request.arms]] = request.beliefs
    named = dict(zip(BELIEFS, beliefs, strict=True))
    eligible = ~np.isnan(named["quality"])
    chosen = np.array([index[request.chosen] for request in requests], dtype=np.intp)
    paid, took = (np.array([getattr(request, name) for request in requests]) for name in ("cost_usd", "latency_s"))
    for name, seen in (("cost_usd", paid), ("latency_s", took)):
        named[name] = np.where(np.isnan(named[name]), _mean(seen), named[name])
    expected = named["cost_usd"][np.arange(len(chosen)), chosen]
    return Log(
        arms=arms,
        weights=requests[-1].weights,
        dearest_usd=_mean_of_largest(named["cost_usd"], eligible),
        slowest_s=_mean_of_largest(named["latency_s"], eligible),
        chosen=chosen,
        score=np.array([request.score for request in requests]),
        paid_usd=np.where(np.isnan(paid), expected, paid),
        took_s=took,
        similar=np.array([request.similar for request in requests]),
        **(named | {"propensity": np.nan_to_num(named["propensity"])}),
    )


def _beliefs(view: ArmView) -> list[float]:
    values = [getattr(view, name) for name in BELIEFS]
    return [np.nan if value is None else value for value in values]


def _mean(seen: Floats) -> float:
    known = seen[~np.isnan(seen)]
    return float(known.mean()) if known.size else 0.0


def _mean_of_largest(expected: Floats, eligible: NDArray[np.bool_]) -> float:
    return max(1e-12, float(np.where(eligible, expected, -np.inf).max(axis=1).mean()))
