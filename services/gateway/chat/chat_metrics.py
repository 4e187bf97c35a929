"""What of a request is counted, and what is shown of the state when Prometheus asks. Every label is bounded here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from services.gateway.chat.plan import ChatPorts, Plan
from services.gateway.models.posterior_cache import Snapshot
from shared.bandit.arms import ArmId
from shared.bandit.decision import Decision, DecisionKind, Weights
from shared.bandit.evaluation import expected_utilities, worth_of
from shared.metrics import GatewayMetrics
from shared.schemas.quota import Limit
from shared.schemas.records import Outcome, Status
from shared.schemas.storage import Verdict

DEPENDENCIES = ("embedder", "qdrant", "redis")
WATCHED = (*DEPENDENCIES, "learner", "upstream")
PROMPT, COMPLETION = "prompt", "completion"
UNREAD = ("not_json", "not_object")
KNOWN_STATUSES = frozenset({400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504})


def count_request(ports: ChatPorts, plan: Plan, decision: Decision, outcome: Outcome) -> None:
    """Count a closed chat request; `decision` as it turned out, `plan.decision` as it was made."""
    metrics, arm = ports.metrics, ports.catalogue.label(outcome.arm)
    metrics.outcomes.labels(outcome.status).inc()
    if outcome.status is not Status.FAILED:
        metrics.decisions.labels(arm, decision.kind).inc()
    count_cost(ports, outcome.arm, outcome.cost_usd)
    metrics.tokens.labels(arm, PROMPT).inc(outcome.prompt_tokens)
    metrics.tokens.labels(arm, COMPLETION).inc(outcome.completion_tokens)
    if outcome.status is Status.ANSWERED:
        metrics.upstream.labels(arm).observe(outcome.upstream_s)
        if outcome.cost_usd is not None:
            metrics.answer_cost.observe(outcome.cost_usd)
        metrics.answer_tokens.labels(PROMPT).observe(outcome.prompt_tokens)
        metrics.answer_tokens.labels(COMPLETION).observe(outcome.completion_tokens)
    if outcome.first_token_s is not None:
        metrics.first_token.labels(arm).observe(outcome.first_token_s)
    _count_worth(ports, plan.decision)
    _count_steering(metrics, plan)


def count_cost(ports: ChatPorts, arm: ArmId, cost_usd: float | None) -> None:
    """Count the cost of an answer or a failed call; an unknown one is counted as such, not as 0."""
    metrics, label = ports.metrics, ports.catalogue.label(arm)
    if cost_usd is None:
        metrics.unknown_cost.labels(label).inc()
    else:
        metrics.cost.labels(label).inc(cost_usd)


def _count_worth(ports: ChatPorts, decision: Decision) -> None:
    snapshot = ports.posteriors.snapshot
    if snapshot is None or decision.weights is None:
        return
    worth = worth_of(decision, _best_first(snapshot, decision.weights))
    if worth is None:
        return
    metrics = ports.metrics
    metrics.weighed.inc()
    if decision.explored:
        metrics.explored_decisions.inc()
    metrics.gain.inc(max(worth.lift, 0.0))
    metrics.loss.inc(max(-worth.lift, 0.0))
    metrics.regret.inc(worth.regret)


@lru_cache(maxsize=4)
def _best_first(snapshot: Snapshot, weights: Weights) -> tuple[ArmId, ...]:
    return tuple(expected_utilities(snapshot.posterior.summary(), weights))


def _count_steering(metrics: GatewayMetrics, plan: Plan) -> None:
    decision = plan.decision
    if decision.kind is DecisionKind.PINNED:
        return
    if plan.request.session is not None or decision.session:
        metrics.sessions.labels("held" if decision.session else "drawn").inc()
    if decision.exploration != "on":
        metrics.unexplored.labels(decision.exploration).inc()
    if plan.shadow is not None:
        metrics.shadow.labels("yes" if plan.shadow.arm == decision.arm else "no").inc()


def error_label(word: str) -> str:
    """Return a failure's word as a label: rare statuses by their class."""
    if word.startswith("status_") and int(word[7:]) not in KNOWN_STATUSES:
        return f"status_{word[7]}xx"
    return word


def seed(metrics: GatewayMetrics) -> None:
    """Make what may happen exist at 0: a rate over something that appears with its first event misses that event."""
    for status in Status:
        metrics.outcomes.labels(status)
    for verdict in (*Verdict, "unavailable"):
        metrics.feedback.labels(str(verdict))
    for dependency in (*DEPENDENCIES, "policy"):
        metrics.degraded.labels(dependency)
    for limit in (*Limit, "overloaded", "key_concurrency", "bytes"):
        metrics.refused.labels(str(limit))
    for reason in UNREAD:
        metrics.unread_events.labels(reason)
    for direction in (PROMPT, COMPLETION):
        metrics.answer_tokens.labels(direction)


def show_state(ports: ChatPorts, weights: Weights, parts: Mapping[str, Mapping[str, object]]) -> None:
    """Set the gauges of what is believed and of who answers; `parts` is what `/health` says of each part."""
    metrics = ports.metrics
    age_s = ports.posteriors.age_s
    metrics.snapshot_age.set(float("inf") if age_s is None else age_s)
    for name in WATCHED:
        metrics.dependency.labels(name).set(parts.get(name, {}).get("status") in ("ok", "degraded"))
    _show_arms(ports, weights, ports.catalogue.arm_ids)


def _show_arms(ports: ChatPorts, weights: Weights, arms: Sequence[ArmId]) -> None:
    metrics, snapshot = ports.metrics, ports.posteriors.snapshot
    for gauge in (metrics.arm_ratings, metrics.arm_answers, metrics.arm_quality, metrics.arm_utility):
        gauge.clear()  # an arm that was taken out of LLM_MODELS must not stay
    metrics.arm_cooling.clear()
    for arm in arms:
        metrics.arm_cooling.labels(arm).set(ports.cooldowns.rests_s(arm) > 0)
        for kind in DecisionKind:
            metrics.decisions.labels(arm, kind)
        metrics.cost.labels(arm)
        metrics.unknown_cost.labels(arm)
    if snapshot is None:
        return
    beliefs = snapshot.posterior.summary()
    utilities = expected_utilities(beliefs, weights)
    for belief in beliefs:
        metrics.arm_ratings.labels(belief.arm).set(belief.labels)
        metrics.arm_answers.labels(belief.arm).set(belief.requests)
        metrics.arm_quality.labels(belief.arm).set(belief.quality)
        metrics.arm_utility.labels(belief.arm).set(utilities[belief.arm])
