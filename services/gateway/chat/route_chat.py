"""The use case: from a validated chat request to a decision, and from the decision to a recorded answer.

    route     reserve the id, beside: consider  -> Plan
    consider  embed -> neighbours, beside: who has the conversation; then choose on the cached snapshot (`choose.py`)
    complete  call the ranked arms until one answers, record, hand out the answer
    (streamed answers: `streaming.py`; what is written down: `outcome.py`)

Whatever fails before the upstream costs context, never the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from msgspec import Struct, structs

from services.gateway.chat.context import Gathered
from services.gateway.chat.fallback import candidates, first_answer
from services.gateway.chat.journal import CHARS_PER_TOKEN, Journal, Served
from services.gateway.chat.plan import ChatPorts, Plan
from services.gateway.chat.reservations import claimed, needs_claim
from services.gateway.chat.selection import Choice, Conversation, Wish, choose, wish_of
from services.gateway.request_context import RequestContext
from shared.bandit.arms import ArmId, Price
from shared.errors import DependencyError
from shared.schemas.chat import ChatRequest
from shared.schemas.records import Status
from shared.schemas.storage import Claim, Reservation
from shared.schemas.tool_loops import awaited_keys
from shared.schemas.upstream import Answer

T = TypeVar("T")
S = TypeVar("S")


class Completed(Struct, frozen=True, eq=False):
    """A recorded answer; where its record went to disk, Redis is missed."""

    answer: Answer
    served: Served
    in_redis: bool

    @property
    def degraded(self) -> tuple[str, ...]:
        """What was missing, from the decision to the record."""
        missed = self.served.decision.degraded
        return missed if self.in_redis or "redis" in missed else (*missed, "redis")


class Considered(Struct, frozen=True, eq=False):
    """What would be done, before anything is reserved, called or recorded."""

    choice: Choice
    gathered: Gathered
    order: tuple[ArmId, ...]


async def route(chat: ChatRequest, request: RequestContext, ports: ChatPorts) -> Plan:
    """Decide who answers. Raises NotFound for an unknown model and Conflict for an id that was used before."""
    wish = wish_of(chat, ports)
    charge = ports.quotas.charge(request.owner, chat, _prices(wish, ports))
    if needs_claim(request, charge, stream=chat.stream):
        async with claimed(request, charge, ports) as answered:
            considered = await consider(chat, wish, request, ports)
            claim = await answered()
    else:
        considered, claim = await consider(chat, wish, request, ports), Claim(Reservation.NEW)
    decision = considered.choice.decision
    if claim.reservation is Reservation.UNASKED:
        ports.recorder.expect(request.own_id)
        if "redis" not in decision.degraded:
            decision = replace(decision, degraded=(*decision.degraded, "redis"))
    for dependency in decision.degraded:
        ports.metrics.degraded.labels(dependency).inc()
    return Plan(
        chat=chat,
        request=request,
        decision=decision,
        gathered=considered.gathered,
        order=considered.order,
        created_at=ports.clock.now(),
        deadline=request.body_read_at + ports.request_timeout_s,
        shadow=considered.choice.shadow,
        charge=charge,
        charged_in_redis=claim.reservation is Reservation.NEW,
    )


async def consider(chat: ChatRequest, wish: Wish, request: RequestContext, ports: ChatPorts) -> Considered:
    """Gather what is known, and choose. Whatever fails costs context."""
    deadline = request.body_read_at + ports.request_timeout_s
    gathering = ports.gatherer.gather(chat.routing_text, with_neighbours=wish.pinned is None, deadline=deadline)
    conversation, calls = Conversation(), awaited_keys(chat.body)
    if request.session is None and not calls:  # nothing to look up: two tasks less
        gathered = await gathering
    else:
        looking = _conversation(request, calls, wish, ports)
        gathered, conversation = await _both(gathering, looking)
    choice = choose(wish, gathered.context, conversation, ports, explore=request.explore)
    degraded = (*choice.decision.degraded, *gathered.degraded)
    if conversation.missed or (ports.posteriors.stale and wish.pinned is None):
        degraded = (*degraded, "redis")
    decision = choice.decision
    if degraded != decision.degraded:
        decision = replace(decision, degraded=degraded)
        choice = structs.replace(choice, decision=decision)
    # In shadow mode nobody but the safe arm answers, and who narrows the choice wants no other arm either.
    last_resort = None if wish.narrowed or ports.shadow_mode else wish.default
    others = () if ports.shadow_mode else (*wish.allowed, *wish.reserve)
    order = candidates(decision, ports.cooldowns, last_resort, others)
    return Considered(choice, gathered, order)


async def complete(plan: Plan, ports: ChatPorts) -> Completed:
    """Return the first answer, recorded.

    Raises UpstreamError with `relay` where the upstream refuses the request itself, and UpstreamFailed or RateLimited
    where no arm could answer; these are recorded, too.
    """
    journal = Journal(plan, ports)

    async def ask(arm: ArmId) -> Answer:
        return await ports.upstream.complete(plan.call(arm))

    answer, arm = await first_answer(plan, ports, journal, ask)
    count = answer.chars // CHARS_PER_TOKEN
    served = journal.close(Status.ANSWERED, arm, usage=answer.usage, own_count=count, calls=answer.calls)
    return Completed(answer, served, await served.stored)


async def _both(one: Coroutine[Any, Any, T], other: Coroutine[Any, Any, S]) -> tuple[T, S]:
    """Run both side by side; where one fails, the other is cancelled."""
    async with asyncio.TaskGroup() as group:
        first, second = group.create_task(one), group.create_task(other)
    return first.result(), second.result()


def _prices(wish: Wish, ports: ChatPorts) -> Iterator[Price | None]:
    """Yield the prices of whoever may answer."""
    if wish.pinned is not None:
        return iter((ports.catalogue.price(wish.pinned),))
    last_resort = () if wish.default is None else (wish.default,)
    return (ports.catalogue.price(arm) for arm in (*wish.allowed, *wish.reserve, *last_resort))


async def _conversation(request: RequestContext, calls: tuple[str, ...], wish: Wish, ports: ChatPorts) -> Conversation:
    """Return who made the tool call, else who answered last; where Redis cannot say, the draw decides."""
    if wish.pinned is not None or ports.shadow_mode:
        return Conversation()
    if ports.reserving.open:
        return Conversation(missed=True)
    try:
        async with asyncio.timeout(ports.redis_timeout_s):
            for key in calls:
                arm = await ports.log.session_arm(owner=request.owner, session=key)
                if arm is not None:
                    return Conversation(arm, tool_step=True)
            if request.session is None:
                return Conversation()
            return Conversation(await ports.log.session_arm(owner=request.owner, session=request.session))
    except (DependencyError, TimeoutError):
        return Conversation(missed=True)
