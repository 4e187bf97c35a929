"""Planner of evaluations: draws for each request whether it is evaluated, and which other models answer it.

Requests that must not or cannot be evaluated are excluded, and counted by their reason (`results.py`). Models that cool
down, have no known price or are private are not asked beside the one that serves.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np

from services.gateway.evaluation.judge import Judge
from services.gateway.evaluation.reservation import verdict_usd
from services.gateway.evaluation.results import Result
from services.gateway.models.catalogue import Catalogue
from services.gateway.models.posterior_cache import Snapshot
from services.gateway.request_context import RequestContext
from shared.bandit.arms import ArmId
from shared.bandit.context import Context
from shared.bandit.decision import Decision, DecisionKind, Weights
from shared.bandit.racing import EvaluationPlan, EvaluationTerms, plan_evaluation
from shared.logs import get_logger
from shared.metrics import GatewayMetrics
from shared.resilience.upstream_circuits import CircuitBreakers
from shared.schemas.chat import ChatRequest

MAX_BODY_BYTES = 1_000_000
"""Larger requests are not evaluated: a task is kept in Redis."""

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Routed:
    """A request with its decision, and what that was made of; `allowed`: the models that can serve it."""

    request: RequestContext
    chat: ChatRequest
    context: Context
    decision: Decision
    allowed: tuple[ArmId, ...]


@dataclass(eq=False, repr=False)
class EvaluationPlanner:
    """Plans evaluations. A fault in it costs the evaluation, never the answer.

    `weights` are used where the decision weighed nothing.
    """

    _: KW_ONLY
    judge: Judge
    catalogue: Catalogue
    circuit_breakers: CircuitBreakers
    weights: Weights
    terms: EvaluationTerms
    off_keys: tuple[str, ...]
    metrics: GatewayMetrics
    rng: np.random.Generator

    def plan(self, routed: Routed, snapshot: Snapshot) -> EvaluationPlan | None:
        """Return the evaluation that is drawn for a request; None for none, which is counted where it was excluded."""
        try:
            reason = self._unwanted(routed) or self._impossible(routed)
            if reason is None:
                return self._drawn(routed, snapshot)
            self.metrics.evaluation_requests.labels(reason).inc()
        except Exception:  # noqa: BLE001 - the edge: the request is being answered
            _log.exception("no evaluation could be planned")
        return None

    def _drawn(self, routed: Routed, snapshot: Snapshot) -> EvaluationPlan | None:
        askable = tuple(arm for arm in routed.allowed if snapshot.knows(arm) and self._may_ask(arm, routed.decision))
        judge = self.judge.arm.price
        if not askable or judge is None or not snapshot.knows(routed.decision.arm):
            return None
        return plan_evaluation(
            snapshot.posterior,
            routed.context,
            askable,
            routed.decision,
            self.rng,
            weights=routed.decision.weights or self.weights,
            terms=self.terms,
            judge_usd=verdict_usd(judge, routed.chat.requirements.prompt_tokens),
        )

    def _may_ask(self, arm: ArmId, decision: Decision) -> bool:
        if arm == decision.arm:
            return True  # it is not asked again
        listed = self.catalogue.arm(arm)
        return listed.price is not None and not listed.private and not self.circuit_breakers.cooldown_s(arm)

    def _unwanted(self, routed: Routed) -> Result | None:
        """Return why a request must not be evaluated."""
        request, decision = routed.request, routed.decision
        if not request.evaluate or routed.chat.private:
            return Result.CLIENT
        if self.off_keys and request.owner.startswith(self.off_keys):
            return Result.KEY
        if decision.kind is DecisionKind.PINNED:
            return Result.NAMED_MODEL
        return Result.PRIVATE_MODEL if self.catalogue.arm(decision.arm).private else None

    def _impossible(self, routed: Routed) -> Result | None:
        """Return why a request cannot be evaluated."""
        if routed.request.body_bytes > MAX_BODY_BYTES:
            return Result.TOO_LONG
        if self.judge.arm.price is None:
            return Result.NO_PRICE
        return None if self.judge.reads(routed.chat.requirements) else Result.UNREADABLE
