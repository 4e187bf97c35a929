"""Recording of a finished chat request: bill, outcome and record are computed, then published in one step.

bill_of     tokens and cost                    (`journal.py`, pure)
outcome_of  how the request ended              (`journal.py`, pure)
record_of   what is stored of it               (pure)
publish     record writer, circuit breakers, learned limits, quota, budget, metrics, log fields
"""

from __future__ import annotations

import asyncio
from dataclasses import KW_ONLY, dataclass, replace

from msgspec import Struct

from services.gateway.chat.chat_metrics import ChatMetrics
from services.gateway.chat.conversations import prompt_digest
from services.gateway.chat.journal import Ending, Journal, bill_of, outcome_of
from services.gateway.chat.plan import ChatPlan
from services.gateway.limits.exploration_budget import ExplorationBudget
from services.gateway.limits.learned_limits import LearnedLimits
from services.gateway.limits.quotas import Quotas, settlement
from services.gateway.models.catalogue import Catalogue
from services.gateway.records.record_writer import RecordWriter
from shared.bandit.arms import ArmId
from shared.bandit.decision import Decision, DecisionKind
from shared.resilience.upstream_circuits import CircuitBreakers
from shared.schemas.records import Outcome, RequestRecord, Status
from shared.schemas.storage import NewRecord
from shared.schemas.tool_loops import call_keys


class Served(Struct, frozen=True, eq=False):
    """A recorded request. `stored` is done when its record is in Redis (True) or on disk."""

    decision: Decision
    outcome: Outcome
    stored: asyncio.Future[bool]


@dataclass(eq=False, repr=False)
class ChatRecorder:
    """Records finished chat requests, each once."""

    _: KW_ONLY
    record_writer: RecordWriter
    catalogue: Catalogue
    circuit_breakers: CircuitBreakers
    learned_limits: LearnedLimits
    quotas: Quotas
    exploration: ExplorationBudget
    metrics: ChatMetrics
    settings_hash: str
    prompt_chars: int

    def record(self, plan: ChatPlan, journal: Journal, ending: Ending) -> Served:
        """Record the end of a request; where a client still waits, the caller awaits `stored`."""
        bill = bill_of(plan, journal, ending, self.catalogue.price(journal.arm))
        outcome = outcome_of(plan, journal, ending, bill, journal.elapsed_s())
        entry = record_of(plan, outcome, ending, settings_hash=self.settings_hash, chars=self.prompt_chars)
        served = self._publish(plan, ending, entry)
        if plan.evaluation is not None:
            plan.evaluation.submit(ending.choices, outcome, served.stored)
        return served

    def _publish(self, plan: ChatPlan, ending: Ending, entry: NewRecord) -> Served:
        decision, outcome = entry.record.decision, entry.record.outcome
        if outcome.status is Status.ANSWERED:
            self.circuit_breakers.succeeded(outcome.arm)
            if self.learned_limits or plan.chat.requirements.features:
                own_calls = plan.decision.session and outcome.arm == plan.decision.arm
                self.learned_limits.answered(outcome.arm, plan.chat.requirements, own_calls=own_calls)
        if ending.usage is not None and ending.usage.cost_usd is not None:
            self._note_reported_cost(outcome.arm)
        if plan.charge is not None and not plan.charged_in_redis:
            self.quotas.settle(plan.request.owner, plan.charge, outcome)
        stored = self.record_writer.put(entry)
        self.exploration.spend(entry.record.explored_usd)
        self.metrics.count_request(plan, decision, outcome, ending.unread)
        plan.request.log_fields.update(log_fields(plan, decision, outcome))
        return Served(decision, outcome, stored)

    def _note_reported_cost(self, arm: ArmId) -> None:
        """An upstream that reports the costs of an arm makes up for a missing price."""
        if self.catalogue.price(arm) is None and self.catalogue.label(arm) == arm:
            self.catalogue.prices.cost_reported(arm)


def record_of(plan: ChatPlan, outcome: Outcome, ending: Ending, *, settings_hash: str, chars: int) -> NewRecord:
    """Return what is stored of a request, with at most `chars` characters of its prompt."""
    request, answered = plan.request, outcome.status is not Status.FAILED
    record = RequestRecord(
        id=request.own_id,
        public_id=request.public_id,
        owner=request.owner,
        created_at=plan.created_at,
        requested_model=plan.chat.model,
        embedding_model=plan.gathered.embedding_model,
        decision=effective(plan.decision, outcome.arm) if answered else plan.decision,
        outcome=outcome,
        settings_hash=settings_hash,
        session=request.session,
        repeats=plan.repeats,
        shadow=plan.shadow,
        toll=None if plan.charge is None else settlement(plan.charge, in_redis=plan.charged_in_redis),
        traits=plan.gathered.context.traits,
        evaluation_plan=None if plan.evaluation is None else plan.evaluation.plan,
    )
    prompt = plan.chat.routing_text[:chars] or None
    keys, digest = call_keys(plan.chat.body, ending.calls), prompt_digest(request, plan.chat)
    cached_tokens = 0 if ending.usage is None else ending.usage.cached_tokens or 0
    return NewRecord(record, plan.gathered.context.vector, prompt, keys, digest, cached_tokens)


def effective(decision: Decision, arm: ArmId) -> Decision:
    """Return the decision as it turned out: FALLBACK where another arm than the chosen one answered."""
    return decision if arm == decision.arm else replace(decision, kind=DecisionKind.FALLBACK)


def log_fields(plan: ChatPlan, decision: Decision, outcome: Outcome) -> dict[str, object]:
    """Return what the canonical log line says of a chat request."""
    fields: dict[str, object] = {
        "outcome": outcome.status.value,
        "model": outcome.arm,
        "decision": decision.kind.value,
        "propensity": round(decision.propensity, 6),
        "attempts": len(outcome.attempts),
        "cost_usd": outcome.cost_usd,
        "prompt_tokens": outcome.prompt_tokens,
        "completion_tokens": outcome.completion_tokens,
        "overhead_ms": round(outcome.overhead_s * 1000, 2),
        "upstream_ms": round(outcome.upstream_s * 1000, 1),
        "stream": outcome.streamed,
    }
    if decision.degraded:
        fields["degraded"] = ",".join(decision.degraded)
    if decision.session:
        fields["session"] = "held"
    if decision.exploration != "on":
        fields["exploration"] = decision.exploration
    if plan.shadow is not None:
        fields["shadow"] = plan.shadow.arm
    return fields
