"""The use case: from a validated chat request to a decision, and from the decision to a recorded answer.

    route     reserve the id, beside: consider  -> Plan
    consider  embed -> neighbours, beside: who has the conversation; then choose on the cached snapshot (`choose.py`)
    complete  call the ranked arms until one answers, record, hand out the answer
    (streamed answers: `streaming.py`; what is written down: `outcome.py`)

Whatever fails before the upstream costs context, never the answer.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from services.gateway.choose import Choice, Wish, choose, wish_of
from services.gateway.context import Gathered
from services.gateway.fallback import candidates, first_answer
from services.gateway.outcome import Journal, Served
from services.gateway.plan import Asker, ChatPorts, Plan
from shared.bandit.arms import ArmId
from shared.errors import Conflict, DependencyError
from shared.schemas.chat import ChatRequest
from shared.schemas.records import Status
from shared.schemas.storage import Reservation
from shared.schemas.upstream import Answer


@dataclass(frozen=True, slots=True, eq=False)
class Completed:
    """A recorded answer."""

    answer: Answer
    served: Served


@dataclass(frozen=True, slots=True, eq=False)
class Considered:
    """What would be done, before anything is reserved, called or recorded."""

    choice: Choice
    gathered: Gathered
    order: tuple[ArmId, ...]


async def route(chat: ChatRequest, asker: Asker, ports: ChatPorts) -> Plan:
    """Decide who answers. Raises NotFound for an unknown model and Conflict for an id that was used before."""
    wish = wish_of(chat, ports.catalogue)
    async with asyncio.TaskGroup() as group:
        reserving = group.create_task(_reserve(asker, ports))
        considering = group.create_task(consider(chat, wish, asker, ports))
    reservation, considered = reserving.result(), considering.result()
    if reservation is Reservation.TAKEN:
        raise Conflict("This X-Request-ID has been used before.", code="duplicate_request_id", param="X-Request-ID")
    decision = considered.choice.decision
    if reservation is None and "redis" not in decision.degraded:
        decision = replace(decision, degraded=(*decision.degraded, "redis"))
    for dependency in decision.degraded:
        ports.metrics.degraded.labels(dependency).inc()
    return Plan(
        chat=chat,
        asker=asker,
        decision=decision,
        gathered=considered.gathered,
        order=considered.order,
        created_at=ports.clock.now(),
        deadline=asker.started + ports.request_timeout_s,
        shadow=considered.choice.shadow,
    )


async def consider(chat: ChatRequest, wish: Wish, asker: Asker, ports: ChatPorts) -> Considered:
    """Gather what is known, and choose. Whatever fails costs context."""
    async with asyncio.TaskGroup() as group:
        gathering = group.create_task(ports.gatherer.gather(chat.routing_text, with_neighbours=wish.pinned is None))
        remembering = group.create_task(_session_arm(wish, asker, ports))
    gathered = gathering.result()
    choice = choose(wish, gathered.context, remembering.result(), ports, explore=asker.explore)
    degraded = (*choice.decision.degraded, *gathered.degraded)
    if ports.posteriors.stale and wish.pinned is None:
        degraded = (*degraded, "redis")
    decision = replace(choice.decision, degraded=degraded)
    # In shadow mode nobody but the safe arm answers, and who narrows the choice wants no other arm either.
    last_resort = None if wish.narrowed or ports.shadow_mode else ports.catalogue.default
    order = candidates(decision, ports.cooldowns, last_resort)
    return Considered(replace(choice, decision=decision), gathered, order)


async def complete(plan: Plan, ports: ChatPorts) -> Completed:
    """Return the first answer, recorded.

    Raises UpstreamError with `relay` where the upstream refuses the request itself, and UpstreamFailed or RateLimited
    where no arm could answer; these are recorded, too.
    """
    journal = Journal(plan, ports)

    async def ask(arm: ArmId) -> Answer:
        return await ports.upstream.complete(plan.call(arm))

    answer, arm = await first_answer(plan, ports, journal, ask)
    served = journal.close(Status.ANSWERED, arm, usage=answer.usage)
    await served.stored
    return Completed(answer, served)


async def _reserve(asker: Asker, ports: ChatPorts) -> Reservation | None:
    """Claim the public id; None where Redis cannot be asked: a duplicate is then noticed by nobody."""
    if not ports.reserving.allows():
        return None
    try:
        async with asyncio.timeout(ports.redis_timeout_s):
            reservation = await ports.log.reserve(owner=asker.owner, public_id=asker.public_id, own_id=asker.own_id)
    except (DependencyError, TimeoutError):
        ports.reserving.failed()
        return None
    ports.reserving.succeeded()
    return reservation


async def _session_arm(wish: Wish, asker: Asker, ports: ChatPorts) -> ArmId | None:
    """Return who answered last in the conversation; None, too, where Redis cannot say: then the draw decides."""
    if asker.session is None or wish.pinned is not None or ports.shadow_mode or ports.reserving.open:
        return None
    try:
        async with asyncio.timeout(ports.redis_timeout_s):
            return await ports.log.session_arm(owner=asker.owner, session=asker.session)
    except (DependencyError, TimeoutError):
        return None
