"""Chat use case: from a validated chat request to a plan, and from the plan to a recorded answer.

    route     choose the arms (`selection.py`), and reserve the id and the quota beside that (`reservations.py`)
    complete  call the arms until one answers (`fallback.py`), record (`recording.py`), return the answer
    stream    the same for a streamed answer (`streaming.py`)

A dependency that fails before the upstream call costs context, never the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import KW_ONLY, dataclass, replace
from typing import TypeVar

from msgspec import Struct

from services.gateway.chat.candidates import Candidates
from services.gateway.chat.fallback import UpstreamCaller
from services.gateway.chat.journal import CHARS_PER_TOKEN, Ending, Journal
from services.gateway.chat.plan import ChatPlan
from services.gateway.chat.recording import ChatRecorder, Served
from services.gateway.chat.reservations import Reservations, needs_reservation
from services.gateway.chat.selection import Choice, Selector
from services.gateway.chat.streaming import Begin, OpenStream, open_stream
from services.gateway.evaluation.evaluations import Evaluations, RequestEvaluation
from services.gateway.evaluation.planner import Routed
from services.gateway.limits.places import Places
from services.gateway.limits.quotas import Quotas
from services.gateway.records.record_writer import RecordWriter
from services.gateway.request_context import RequestContext
from shared.bandit.arms import ArmId
from shared.metrics import GatewayMetrics
from shared.ports import Clock
from shared.schemas.chat import ChatRequest
from shared.schemas.records import Status
from shared.schemas.storage import Claim, Reservation
from shared.schemas.upstream import Answer
from shared.upstreams import Upstreams

T = TypeVar("T")


class Completed(Struct, frozen=True, eq=False):
    """A recorded answer. `in_redis`: its record is in Redis, not on disk."""

    answer: Answer
    served: Served
    in_redis: bool

    @property
    def degraded(self) -> tuple[str, ...]:
        """The dependencies that were missed, from the decision to the record."""
        missed = self.served.decision.degraded
        return missed if self.in_redis or "redis" in missed else (*missed, "redis")


@dataclass(eq=False, repr=False)
class RouteChat:
    """Routes chat requests: chooses, calls, records."""

    selector: Selector
    reservations: Reservations
    caller: UpstreamCaller
    recorder: ChatRecorder
    upstreams: Upstreams
    _: KW_ONLY
    quotas: Quotas
    record_writer: RecordWriter
    clock: Clock
    metrics: GatewayMetrics
    request_timeout_s: float
    deciding: Places
    evaluations: Evaluations | None = None

    async def route(self, request: RequestContext, chat: ChatRequest) -> ChatPlan:
        """Decide which arms to call.

        Raises NotFound for an unknown model, InvalidRequest where none can serve the request, Conflict for an id that
        was used before, RateLimited at a limit of the key, and Unavailable where it could not be decided in time.
        """
        await self.deciding.take()
        try:
            return await self._plan(request, chat)
        finally:
            self.deciding.free()

    async def _plan(self, request: RequestContext, chat: ChatRequest) -> ChatPlan:
        candidates = self.selector.candidates(chat)
        charge = self.quotas.charge(request.owner, chat, self.selector.prices(candidates))
        if needs_reservation(request, charge, stream=chat.stream):
            async with self.reservations.reserved(request, charge) as reserved:
                choice = await self.selector.choose(request, chat, candidates)
                claim = await reserved()
        else:
            choice, claim = await self.selector.choose(request, chat, candidates), Claim(Reservation.NEW)
        decision = choice.decision
        if claim.reservation is Reservation.UNASKED:
            self.record_writer.expect(request.own_id)
            if "redis" not in decision.degraded:
                decision = replace(decision, degraded=(*decision.degraded, "redis"))
        for dependency in decision.degraded:
            self.metrics.degraded.labels(dependency).inc()
        now = self.clock.now()
        return ChatPlan(
            chat=chat,
            request=request,
            decision=decision,
            gathered=choice.gathered,
            order=choice.order,
            created_at=now,
            deadline=request.body_read_at + self.request_timeout_s,
            repeats=choice.conversation.repeated(request, chat, now),
            shadow=choice.shadow,
            charge=charge,
            charged_in_redis=claim.reservation is Reservation.NEW,
            evaluation=self._evaluation(request, chat, candidates, choice),
            answer_limits=self.selector.answer_limits(chat, choice.order) if chat.caps_answer else {},
        )

    def _evaluation(
        self, request: RequestContext, chat: ChatRequest, candidates: Candidates, choice: Choice
    ) -> RequestEvaluation | None:
        if self.evaluations is None:
            return None
        allowed = candidates.allowed
        return self.evaluations.begin(Routed(request, chat, choice.gathered.context, choice.decision, allowed))

    async def complete(self, plan: ChatPlan) -> Completed:
        """Return the first answer, recorded. Raises what `UpstreamCaller.call` raises, recorded, too."""
        journal = Journal(plan, self.clock)
        answer = await self._call(plan, journal, lambda arm: self.upstreams.complete(plan.call(arm)))
        tokens = answer.chars // CHARS_PER_TOKEN
        ending = Ending(
            Status.ANSWERED, usage=answer.usage, own_tokens=tokens, calls=answer.calls, choices=answer.choices
        )
        served = self.recorder.record(plan, journal, ending)
        return Completed(answer, served, await served.stored)

    def stream(self, plan: ChatPlan, begin: Begin) -> AbstractAsyncContextManager[OpenStream]:
        """Open the first stream that gives a first event. Raises as `complete` does, until `begin` was called.

        `begin` is called by `OpenStream.pour`, or before where the first event is late.
        """
        journal, clock = Journal(plan, self.clock), self.clock
        opened = OpenStream(plan, journal, caller=self.caller, recorder=self.recorder, clock=clock, begin=begin)
        return open_stream(plan, opened, self.upstreams, self._call)

    async def _call(self, plan: ChatPlan, journal: Journal, send: Callable[[ArmId], Awaitable[T]]) -> T:
        """Return the first answer; a request without one is recorded before its error leaves."""
        try:
            return await self.caller.call(plan, journal, send)
        except (ConnectionResetError, asyncio.CancelledError):  # the client is gone: nothing waits for the record
            journal.cancelled()
            self.recorder.record(plan, journal, Ending(Status.CANCELLED))
            raise
        except Exception:  # a fault of ours, too: the id must not stay reserved without a record
            await self.recorder.record(plan, journal, Ending(Status.FAILED)).stored
            raise
