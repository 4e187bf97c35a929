"""Embeddings use case: a request for vectors is passed to the model that it names.

Nothing is chosen, learned, evaluated or stored of it. Quotas, circuits, retries, metrics and the log line are those of
chat requests that name their model.
"""

from __future__ import annotations

import asyncio
from dataclasses import KW_ONLY, dataclass

from msgspec import Struct

from services.gateway.chat.chat_metrics import ChatMetrics
from services.gateway.chat.context import Gathered
from services.gateway.chat.fallback import UpstreamCaller, call_order
from services.gateway.chat.journal import Ending, Journal, bill_of, outcome_of
from services.gateway.chat.plan import ChatPlan
from services.gateway.chat.recording import log_fields
from services.gateway.chat.reservations import Reservations
from services.gateway.chat.selection import pin
from services.gateway.limits.quotas import NANO, Quotas
from services.gateway.models.catalogue import Catalogue
from services.gateway.request_context import RequestContext
from shared.bandit.arms import ArmId
from shared.ports import Clock
from shared.schemas.chat import ChatRequest
from shared.schemas.embedding_request import EmbeddingRequest
from shared.schemas.quota import Charge
from shared.schemas.records import Outcome, Status
from shared.schemas.requirements import Requirements
from shared.schemas.storage import Reservation
from shared.schemas.upstream import EMBEDDINGS, Answer, Native
from shared.upstreams import Upstreams


class Embedded(Struct, frozen=True, eq=False):
    """An answered request: the upstream's answer, and the outcome with its cost."""

    answer: Answer
    outcome: Outcome


@dataclass(eq=False, repr=False)
class Embeddings:
    """Answers embedding requests."""

    catalogue: Catalogue
    reservations: Reservations
    caller: UpstreamCaller
    upstreams: Upstreams
    _: KW_ONLY
    quotas: Quotas
    metrics: ChatMetrics
    clock: Clock
    request_timeout_s: float

    async def answer(self, request: RequestContext, asked: EmbeddingRequest) -> Embedded:
        """Return the answer of the named model.

        Raises NotFound for an unknown model, RateLimited at a limit of the key, Conflict for an id in use, and what
        `UpstreamCaller.call` raises.
        """
        arm = self.catalogue.pin(asked.model)
        charge = self.quotas.charge_tokens(request.owner, asked.tokens, 0, (self.catalogue.price(arm),))
        plan = self._plan(request, asked, arm, charge)
        in_redis = charge is not None and await self._reserve(request, charge)
        journal, ending = Journal(plan, self.clock), Ending(Status.FAILED)
        try:
            answer = await self.caller.call(plan, journal, lambda one: self.upstreams.complete(plan.call(one)))
            ending = Ending(Status.ANSWERED, usage=answer.usage)
        except (ConnectionResetError, asyncio.CancelledError):
            journal.cancelled()
            ending = Ending(Status.CANCELLED)
            raise
        finally:
            outcome = self._end(plan, journal, ending, in_redis=in_redis)
        return Embedded(answer, outcome)

    async def _reserve(self, request: RequestContext, charge: Charge) -> bool:
        """Reserve id and quota; return whether Redis has them."""
        async with self.reservations.reserved(request, charge) as reserved:
            return (await reserved()).reservation is Reservation.NEW

    def _plan(self, request: RequestContext, asked: EmbeddingRequest, arm: ArmId, charge: Charge | None) -> ChatPlan:
        """Return the request as a chat request that names its model; the messages stand for the size of the input."""
        chat = ChatRequest(
            body={"messages": [{"role": "user", "content": asked.body["input"]}]},
            model=asked.model,
            models=(),
            routing_text="",
            stream=False,
            include_usage=False,
            requirements=Requirements(prompt_tokens=asked.tokens),
            native=Native(EMBEDDINGS, asked.body),
        )
        decision = pin(arm)
        return ChatPlan(
            chat=chat,
            request=request,
            decision=decision,
            gathered=Gathered(),
            order=call_order(decision, self.caller.circuit_breakers, None),
            created_at=self.clock.now(),
            deadline=request.body_read_at + self.request_timeout_s,
            charge=charge,
        )

    def _end(self, plan: ChatPlan, journal: Journal, ending: Ending, *, in_redis: bool) -> Outcome:
        """Publish the outcome, and give back what is left of the charge."""
        bill = bill_of(plan, journal, ending, self.catalogue.price(journal.arm))
        outcome = outcome_of(plan, journal, ending, bill, journal.elapsed_s())
        if outcome.status is Status.ANSWERED:
            self.caller.circuit_breakers.succeeded(outcome.arm)
        self.metrics.count_request(plan, plan.decision, outcome, ending.unread)
        plan.request.log_fields.update(log_fields(plan, plan.decision, outcome))
        if plan.charge is not None:
            unused = plan.charge.unused(outcome.prompt_tokens, round(outcome.spent_usd * NANO))
            self.reservations.give_back(plan.request, unused, in_redis=in_redis)
        return outcome
