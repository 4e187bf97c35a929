"""Metrics view: gauges of the present state, set when Prometheus scrapes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.gateway.chat.answer_checks import Check
from services.gateway.chat.chat_metrics import ABANDONED, COMPLETION, PROMPT, REPEATED
from services.gateway.evaluation.results import Result
from services.gateway.models.catalogue import Catalogue
from services.gateway.models.posterior_cache import PosteriorCache
from shared.bandit.decision import DecisionKind, Weights
from shared.bandit.evaluation import expected_utilities
from shared.bandit.evidence import SourceFit
from shared.bandit.lift import Lift
from shared.metrics import GatewayMetrics
from shared.resilience.upstream_circuits import CircuitBreakers
from shared.schemas.quota import Limit
from shared.schemas.records import Status
from shared.schemas.storage import Verdict

DEPENDENCIES = ("embedder", "qdrant", "redis")
WATCHED = (*DEPENDENCIES, "learner", "upstream")
UNREAD = ("not_json", "not_object")


def seed(metrics: GatewayMetrics) -> None:
    """Create series at 0 for events that may happen: the rate of a series that starts with an event misses that one."""
    for status in Status:
        metrics.outcomes.labels(status)
    for verdict in (*Verdict, "unavailable"):
        metrics.feedback.labels(str(verdict))
    for dependency in (*DEPENDENCIES, "policy"):
        metrics.degraded.labels(dependency)
    for limit in (*Limit, "overloaded", "key_concurrency", "bytes"):
        metrics.refused.labels(str(limit))
    for result in Result:
        metrics.evaluation_requests.labels(result)
    for reason in UNREAD:
        metrics.unread_events.labels(reason)
    for direction in (PROMPT, COMPLETION):
        metrics.answer_tokens.labels(direction)


@dataclass(eq=False, repr=False)
class MetricsView:
    """Sets the gauges of arms, learned state and dependencies."""

    metrics: GatewayMetrics
    catalogue: Catalogue
    posteriors: PosteriorCache
    circuit_breakers: CircuitBreakers
    weights: Weights

    def show(self, parts: Mapping[str, Mapping[str, object]], upstreams: Mapping[str, Mapping[str, object]]) -> None:
        """Set the gauges; `parts` and `upstreams` are what `/health` says of each."""
        metrics, age_s = self.metrics, self.posteriors.age_s
        metrics.snapshot_age.set(float("inf") if age_s is None else age_s)
        for name in WATCHED:
            metrics.dependency.labels(name).set(parts.get(name, {}).get("status") in ("ok", "degraded"))
        metrics.upstream_up.clear()
        for name, part in upstreams.items():
            metrics.upstream_up.labels(name).set(part.get("status") in ("ok", "degraded"))
        self._show_arms()
        self._show_beliefs()

    def _show_arms(self) -> None:
        metrics = self.metrics
        metrics.arm_cooling.clear()
        for arm in self.catalogue.arm_ids:
            metrics.arm_cooling.labels(arm).set(self.circuit_breakers.cooldown_s(arm) > 0)
            for kind in DecisionKind:
                metrics.decisions.labels(arm, kind)
            for check in Check:
                metrics.failed_checks.labels(arm, check)
            for signal in (ABANDONED, REPEATED):
                metrics.implicit_signals.labels(arm, signal)
            metrics.cost.labels(arm)
            metrics.unknown_cost.labels(arm)

    def _show_beliefs(self) -> None:
        metrics, snapshot = self.metrics, self.posteriors.snapshot
        for gauge in (metrics.arm_ratings, metrics.arm_answers, metrics.arm_quality, metrics.arm_utility):
            gauge.clear()  # an arm that was taken out of LLM_MODELS must not stay
        if snapshot is None:
            return
        self._show_sources(snapshot.posterior.sources)
        self._show_lift(snapshot.lift)
        beliefs = snapshot.posterior.summary()
        utilities = expected_utilities(beliefs, self.weights)
        for belief in beliefs:
            metrics.arm_ratings.labels(belief.arm).set(belief.labels)
            metrics.arm_answers.labels(belief.arm).set(belief.requests)
            metrics.arm_quality.labels(belief.arm).set(belief.quality)
            metrics.arm_utility.labels(belief.arm).set(utilities[belief.arm])

    def _show_sources(self, sources: Sequence[SourceFit]) -> None:
        """Set what is believed of each source other than users."""
        metrics = self.metrics
        for gauge in (metrics.source_scores, metrics.source_shift, metrics.source_bias):
            gauge.clear()
        for fit in sources:
            metrics.source_scores.labels(fit.source).set(float(fit.labels.sum()))
            metrics.source_shift.labels(fit.source).set(fit.shift)
            metrics.source_bias.labels(fit.source).set(fit.bias_sd)

    def _show_lift(self, lift: Lift | None) -> None:
        """Set what the control group shows; without one, or before it is known, no figure."""
        metrics = self.metrics
        for gauge in (metrics.lift_measured, metrics.lift_requests):
            gauge.clear()
        metrics.lift_net.set(math.nan)
        metrics.requests_left.set(math.nan)
        if lift is None:
            return
        for group, sums in lift.groups.items():
            metrics.lift_requests.labels(group).set(sums.requests)
        if lift.utility is not None and lift.net is not None:
            for bound in ("mean", "low", "high"):
                metrics.lift_measured.labels(bound).set(getattr(lift.utility, bound))
            metrics.lift_net.set(lift.net)
            metrics.requests_left.set(math.inf if lift.requests_left is None else lift.requests_left)
