"""What a request cost and how it ended: attempts, tokens, money, time; written once, for record, metrics and log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import orjson
from msgspec import Struct

from services.gateway.chat.chat_metrics import count_cost, count_request, error_label
from services.gateway.chat.plan import ChatPorts, Plan
from services.gateway.limits.quotas import largest_answer
from shared.bandit.arms import ArmId, Price
from shared.bandit.decision import Decision, DecisionKind
from shared.errors import Scope, UpstreamError
from shared.schemas.records import Attempt, Outcome, RequestRecord, Status
from shared.schemas.storage import NewRecord
from shared.schemas.tool_loops import call_keys
from shared.schemas.upstream import Usage

CHARS_PER_TOKEN = 4
UNBOUNDED_TOKENS = 65_536
"""Upstreams ask for credit for a model's longest answer where the request sets no bound."""
ASSUMED_TOKENS = 400
"""For the estimate of an answer that was broken off before its usage came, or of which nothing came at all."""


class Served(Struct, frozen=True, eq=False):
    """A closed request. `stored` is done when its record is in Redis (True) or on disk."""

    decision: Decision
    outcome: Outcome
    stored: asyncio.Future[bool]


class Bill(Struct, frozen=True):
    """Tokens and cost, and the source of the cost, as in `Outcome`. An unknown cost is None."""

    cost_usd: float | None
    source: str
    prompt_tokens: int
    completion_tokens: int


NO_BILL = Bill(0.0, "none", 0, 0)
"""Of a request without any answer; its failed calls have estimates of their own."""


def bill(usage: Usage, price: Price | None, estimate: Callable[[], tuple[int, int]]) -> Bill:
    """Return the cost that the upstream reports, else tokens at list price, else an unknown one.

    `estimate` returns the tokens of prompt and answer, for those that the upstream does not report.
    """
    prompt, completion, cost_usd = usage.prompt_tokens, usage.completion_tokens, usage.cost_usd
    source = "price"
    if prompt is None or completion is None:
        estimated = estimate()
        prompt = estimated[0] if prompt is None else prompt
        completion = estimated[1] if completion is None else completion
        source = "estimate"
    if cost_usd is not None:
        return Bill(cost_usd, "upstream", prompt, completion)
    return _at_list_price(price, source, prompt, completion)


def estimated_bill(plan: Plan, completion_tokens: int, price: Price | None) -> Bill:
    """Return an estimate for an answer without any usage: characters of the prompt, and what came of the answer."""
    return _at_list_price(price, "estimate", *_estimated_tokens(plan, completion_tokens))


def _at_list_price(price: Price | None, source: str, prompt: int, completion: int) -> Bill:
    if price is None:
        return Bill(None, "unknown", prompt, completion)
    return Bill(price.cost_usd(prompt, completion), source, prompt, completion)


def _estimated_tokens(plan: Plan, completion_tokens: int) -> tuple[int, int]:
    return len(orjson.dumps(plan.chat.body.get("messages"))) // CHARS_PER_TOKEN, completion_tokens


def asked_tokens(plan: Plan) -> int:
    """Return how many tokens a request asks for, prompt and answer; an answer without a bound counts as a long one."""
    return plan.chat.requirements.prompt_tokens + (largest_answer(plan.chat.body) or UNBOUNDED_TOKENS)


class Journal:
    """What happens to one planned request, from the first call to the record."""

    def __init__(self, plan: Plan, ports: ChatPorts) -> None:
        self._plan = plan
        self._ports = ports
        self._attempts: list[Attempt] = []
        self._overhead_s: float | None = None
        self._arm: ArmId = plan.order[0]
        self._began = plan.request.body_read_at
        self._first_token_s: float | None = None
        self._calling = False
        self.closed: Served | None = None
        self.frames = 0

    @property
    def overhead_s(self) -> float:
        """Our own time before the first upstream call."""
        return self._overhead_s or 0.0

    def begin(self, arm: ArmId) -> None:
        """An upstream call starts."""
        self._arm = arm
        self._calling = True
        self._began = self._ports.clock.monotonic()
        if self._overhead_s is None:
            self._overhead_s = self._began - self._plan.request.body_read_at
            self._ports.metrics.overhead.observe(self._overhead_s)

    def failed(self, error: UpstreamError | None) -> None:
        """It failed before its first byte; None for a fault of ours."""
        spent = error is None or error.spent
        cost_usd = self._unanswered_usd() if spent else 0.0
        word = "internal" if error is None else error_word(error)
        scope, feature = (None, None) if error is None else (error.scope, error.feature)
        attempt = Attempt(self._arm, word, self._elapsed(), spent, cost_usd, scope, feature)
        self._attempts.append(attempt)
        self._calling = False
        count_cost(self._ports, self._arm, cost_usd)
        if error is not None:
            self._failure(error, attempt)

    def broke_off(self, error: UpstreamError) -> None:
        """It failed after its first byte; `close` follows."""
        self._failure(error, Attempt(self._arm, error_word(error), 0.0, spent=True))

    def _failure(self, error: UpstreamError, attempt: Attempt) -> None:
        ports, label = self._ports, self._ports.catalogue.label(attempt.arm)
        tokens = asked_tokens(self._plan) if error.scope is Scope.CREDIT else 0
        ports.cooldowns.failed(attempt.arm, error, request=self._plan.request.own_id, tokens=tokens)
        if error.scope is Scope.FIT and error.feature is not None:
            ports.learned_limits.learn(attempt.arm, error.feature, self._plan.chat.requirements)
        ports.metrics.fallbacks.labels(label, error_label(attempt.error or "")).inc()

    def _unanswered_usd(self) -> float | None:
        """Return what a call may have cost of which no answer came; None where its price is unknown."""
        tokens = min(largest_answer(self._plan.chat.body) or ASSUMED_TOKENS, ASSUMED_TOKENS)
        return estimated_bill(self._plan, tokens, self._ports.catalogue.price(self._arm)).cost_usd

    def cancelled(self) -> None:
        """The client went away while we waited; the upstream may bill what it had begun."""
        if self._calling:  # else it went away in a pause, and nothing was under way
            self._attempts.append(Attempt(self._arm, "cancelled", self._elapsed(), spent=True))

    def first_token(self) -> None:
        """The first event of a stream is here."""
        self._first_token_s = self._elapsed()

    def close(
        self,
        status: Status,
        arm: ArmId,
        *,
        usage: Usage | None = None,
        error: str | None = None,
        own_count: int = 0,
        calls: tuple[str, ...] = (),
    ) -> Served:
        """Write it all down, once; the caller awaits `stored` where a client still waits.

        `own_count` is our count of the answer's tokens, for an answer that says nothing of its usage; `calls` are the
        ids of its tool calls.
        """
        plan, ports = self._plan, self._ports
        if status is Status.ANSWERED:
            ports.cooldowns.succeeded(arm)
            if ports.learned_limits or plan.chat.requirements.features:
                own_calls = plan.decision.session and arm == plan.decision.arm
                ports.learned_limits.answered(arm, plan.chat.requirements, own_calls=own_calls)
        costs = self._bill(status, arm, usage, own_count)
        upstream_s = self._elapsed()
        if status in (Status.ANSWERED, Status.TRUNCATED) or (status is Status.CANCELLED and self.frames):
            self._attempts.append(Attempt(arm, error, upstream_s, spent=True))
        decision = plan.decision if status is Status.FAILED else effective(plan.decision, arm)
        outcome = Outcome(
            status=status,
            arm=arm,
            cost_usd=costs.cost_usd,
            cost_source=costs.source,
            prompt_tokens=costs.prompt_tokens,
            completion_tokens=costs.completion_tokens,
            overhead_s=self.overhead_s,
            upstream_s=upstream_s,
            first_token_s=self._first_token_s,
            streamed=plan.chat.stream,
            attempts=tuple(self._attempts),
        )
        entry = self._record(decision, outcome, call_keys(plan.chat.body, calls))
        self.closed = Served(decision, outcome, ports.recorder.put(entry))
        ports.exploration.spend(entry.record.explored_usd)
        count_request(ports, plan, decision, outcome)
        _tell(plan, decision, outcome)
        return self.closed

    def _bill(self, status: Status, arm: ArmId, usage: Usage | None, own_count: int) -> Bill:
        price = self._ports.catalogue.price(arm)
        counted = own_count or self.frames
        if usage is not None:
            catalogue = self._ports.catalogue
            if price is None and usage.cost_usd is not None and catalogue.label(arm) == arm:
                catalogue.prices.cost_reported(arm)
            return bill(usage, price, lambda: _estimated_tokens(self._plan, counted))
        nothing = status is Status.FAILED or (status is Status.CANCELLED and not self._calling)
        return NO_BILL if nothing else estimated_bill(self._plan, counted, price)

    def _elapsed(self) -> float:
        return self._ports.clock.monotonic() - self._began

    def _record(self, decision: Decision, outcome: Outcome, calls: tuple[str, ...]) -> NewRecord:
        plan = self._plan
        record = RequestRecord(
            id=plan.request.own_id,
            public_id=plan.request.public_id,
            owner=plan.request.owner,
            created_at=plan.created_at,
            requested_model=plan.chat.model,
            embedding_model=plan.gathered.embedding_model,
            decision=decision,
            outcome=outcome,
            settings_hash=self._ports.settings_hash,
            session=plan.request.session,
            shadow=plan.shadow,
            toll=self._ports.quotas.settle(plan.request.owner, plan.charge, outcome, in_redis=plan.charged_in_redis),
        )
        prompt = plan.chat.routing_text[: self._ports.prompt_chars] or None
        return NewRecord(record, plan.gathered.context.vector, prompt, calls)


def effective(decision: Decision, arm: ArmId) -> Decision:
    """Return the decision as it turned out: FALLBACK where another arm than the chosen one answered."""
    return decision if arm == decision.arm else replace(decision, kind=DecisionKind.FALLBACK)


def error_word(error: UpstreamError) -> str:
    """Return a bounded word for a failure: a label and a field of the record."""
    if error.timed_out:
        return "timeout"
    if error.status is not None and 400 <= error.status <= 599:
        return f"status_{error.status}"
    if error.status is not None:
        return "bad_answer"
    return "broken" if error.spent else "refused"


def _tell(plan: Plan, decision: Decision, outcome: Outcome) -> None:
    plan.request.log_fields.update(
        outcome=outcome.status.value,
        model=outcome.arm,
        decision=decision.kind.value,
        propensity=round(decision.propensity, 6),
        attempts=len(outcome.attempts),
        cost_usd=outcome.cost_usd,
        prompt_tokens=outcome.prompt_tokens,
        completion_tokens=outcome.completion_tokens,
        overhead_ms=round(outcome.overhead_s * 1000, 2),
        upstream_ms=round(outcome.upstream_s * 1000, 1),
        stream=outcome.streamed,
    )
    if decision.degraded:
        plan.request.log_fields["degraded"] = ",".join(decision.degraded)
    if decision.session:
        plan.request.log_fields["session"] = "held"
    if decision.exploration != "on":
        plan.request.log_fields["exploration"] = decision.exploration
    if plan.shadow is not None:
        plan.request.log_fields["shadow"] = plan.shadow.arm
