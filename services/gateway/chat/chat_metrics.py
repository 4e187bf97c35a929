"""Metrics of chat requests. Every label is bounded here."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

from services.gateway.chat.plan import ChatPlan
from services.gateway.models.catalogue import Catalogue
from services.gateway.models.posterior_cache import PosteriorCache, Snapshot
from shared.bandit.arms import ArmId
from shared.bandit.decision import Decision, DecisionKind, Weights
from shared.bandit.evaluation import expected_utilities, worth_of
from shared.metrics import GatewayMetrics
from shared.schemas.records import Outcome, Status

ABANDONED, REPEATED = "abandoned", "repeated"
PROMPT, COMPLETION = "prompt", "completion"
KNOWN_STATUSES = frozenset({400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504})


class ChatMetrics:
    """Counts chat requests, their calls and their costs."""

    def __init__(self, metrics: GatewayMetrics, catalogue: Catalogue, posteriors: PosteriorCache) -> None:
        self._metrics = metrics
        self._catalogue = catalogue
        self._posteriors = posteriors

    def count_request(self, plan: ChatPlan, decision: Decision, outcome: Outcome, unread: Counter[str]) -> None:
        """Count a recorded request: `decision` as it turned out, `plan.decision` as it was made."""
        metrics, arm = self._metrics, self._catalogue.label(outcome.arm)
        metrics.outcomes.labels(outcome.status).inc()
        if outcome.status is not Status.FAILED:
            metrics.decisions.labels(arm, decision.kind).inc()
        self.count_cost(outcome.arm, outcome.cost_usd)
        metrics.tokens.labels(arm, PROMPT).inc(outcome.prompt_tokens)
        metrics.tokens.labels(arm, COMPLETION).inc(outcome.completion_tokens)
        if outcome.status is Status.ANSWERED:
            metrics.upstream.labels(arm, self._catalogue.upstream_of(outcome.arm)).observe(outcome.upstream_s)
            if outcome.cost_usd is not None:
                metrics.answer_cost.observe(outcome.cost_usd)
            metrics.answer_tokens.labels(PROMPT).observe(outcome.prompt_tokens)
            metrics.answer_tokens.labels(COMPLETION).observe(outcome.completion_tokens)
        for check in outcome.failed_checks or ():
            metrics.failed_checks.labels(arm, check).inc()
        if outcome.abandoned:
            metrics.implicit_signals.labels(arm, ABANDONED).inc()
        if plan.repeats is not None:
            metrics.implicit_signals.labels(self._catalogue.label(plan.repeats), REPEATED).inc()
        if outcome.first_token_s is not None:
            metrics.first_token.labels(arm).observe(outcome.first_token_s)
        for reason, number in unread.items():
            metrics.unread_events.labels(reason).inc(number)
        self._count_worth(plan.decision)
        self._count_steering(plan)

    def count_cost(self, arm: ArmId, cost_usd: float | None) -> None:
        """Count the cost of an answer or a failed call; an unknown one is counted as unknown, not as 0."""
        label = self._catalogue.label(arm)
        if cost_usd is None:
            self._metrics.unknown_cost.labels(label).inc()
        else:
            self._metrics.cost.labels(label).inc(cost_usd)

    def count_overhead(self, overhead_s: float) -> None:
        """Count our own time before a request's first call."""
        self._metrics.overhead.observe(overhead_s)

    def count_failure(self, arm: ArmId, word: str) -> None:
        """Count a failed call by the word of its failure."""
        catalogue = self._catalogue
        self._metrics.fallbacks.labels(catalogue.label(arm), catalogue.upstream_of(arm), error_label(word)).inc()

    def count_refused_retry(self) -> None:
        """Count a retry for which the budget had no room."""
        self._metrics.retries_refused.inc()

    def _count_worth(self, decision: Decision) -> None:
        snapshot, metrics = self._posteriors.snapshot, self._metrics
        if snapshot is None or decision.weights is None or decision.kind is DecisionKind.CONTROL:
            return
        worth = worth_of(decision, _best_first(snapshot, decision.weights))
        if worth is None:
            return
        metrics.weighed.inc()
        if decision.explored:
            metrics.explored_decisions.inc()
        metrics.gain.inc(max(worth.lift, 0.0))
        metrics.loss.inc(max(-worth.lift, 0.0))
        metrics.regret.inc(worth.regret)

    def _count_steering(self, plan: ChatPlan) -> None:
        decision, metrics = plan.decision, self._metrics
        if decision.kind is DecisionKind.PINNED:
            return
        if plan.request.session is not None or decision.session:
            metrics.sessions.labels("held" if decision.session else "drawn").inc()
        if decision.exploration != "on":
            metrics.unexplored.labels(decision.exploration).inc()
        if plan.shadow is not None:
            metrics.shadow.labels("yes" if plan.shadow.arm == decision.arm else "no").inc()


@lru_cache(maxsize=4)
def _best_first(snapshot: Snapshot, weights: Weights) -> tuple[ArmId, ...]:
    return tuple(expected_utilities(snapshot.posterior.summary(), weights))


def error_label(word: str) -> str:
    """Return a failure's word as a label: rare statuses by their class."""
    if word.startswith("status_") and int(word[7:]) not in KNOWN_STATUSES:
        return f"status_{word[7]}xx"
    return word
