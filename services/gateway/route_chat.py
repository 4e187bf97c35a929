"""The use case: from a validated chat request to a decision, and from the decision to a recorded answer.

    route     reserve the id, beside: embed -> neighbours; then decide on the cached snapshot  -> Plan
    complete  call the ranked arms until one answers, record, hand out the answer
    (streamed answers: `streaming.py`; what is written down: `outcome.py`)

Whatever fails before the upstream costs context, never the answer.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from services.gateway.fallback import candidates, first_answer
from services.gateway.outcome import Journal, Served
from services.gateway.plan import Asker, ChatPorts, Plan
from shared.bandit.arms import ArmId
from shared.bandit.context import Context
from shared.bandit.decision import Decision, DecisionKind
from shared.errors import Conflict, DependencyError
from shared.logs import get_logger
from shared.schemas.chat import ChatRequest
from shared.schemas.records import Status
from shared.schemas.storage import Reservation
from shared.schemas.upstream import Answer

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Completed:
    """A recorded answer."""

    answer: Answer
    served: Served


async def route(chat: ChatRequest, asker: Asker, ports: ChatPorts) -> Plan:
    """Decide who answers. Raises NotFound for an unknown model and Conflict for an id that was used before."""
    pinned = None if chat.model is None else ports.catalogue.pin(chat.model)
    allowed = ports.catalogue.narrow(chat.models) if chat.models else ports.catalogue.arm_ids
    async with asyncio.TaskGroup() as group:
        reserving = group.create_task(_reserve(asker, ports))
        gathering = group.create_task(ports.gatherer.gather(chat.routing_text, with_neighbours=pinned is None))
    reservation, gathered = reserving.result(), gathering.result()
    if reservation is Reservation.TAKEN:
        raise Conflict("This X-Request-ID has been used before.", code="duplicate_request_id", param="X-Request-ID")
    decision = _pin(pinned) if pinned else _decide(allowed, gathered.context, ports, narrowed=bool(chat.models))
    degraded = (*decision.degraded, *gathered.degraded)
    if reservation is None or (ports.posteriors.stale and not pinned):
        degraded = (*degraded, "redis")
    for dependency in degraded:
        ports.metrics.degraded.labels(dependency).inc()
    last_resort = None if chat.models else ports.catalogue.default
    return Plan(
        chat=chat,
        asker=asker,
        decision=replace(decision, degraded=degraded),
        gathered=gathered,
        order=candidates(decision, ports.cooldowns, last_resort),
        created_at=ports.clock.now(),
        deadline=asker.started + ports.request_timeout_s,
    )


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


def _decide(allowed: tuple[ArmId, ...], context: Context, ports: ChatPorts, *, narrowed: bool) -> Decision:
    snapshot = ports.posteriors.snapshot
    default = None if narrowed else ports.catalogue.default
    if snapshot is None:
        return _default(default, allowed, "nothing has been read of what was learned")
    eligible = tuple(arm for arm in ports.cooldowns.warm(allowed) if snapshot.knows(arm))
    if not eligible:
        return _default(default, allowed, "the models are newer than the learned state")
    try:
        with ports.metrics.decide.time():
            return snapshot.decide(context, eligible, ports.rng)
    except Exception:  # noqa: BLE001 - fail open: no learned state, however odd, may cost an answer
        _log.exception("the policy broke", arms=len(eligible), snapshot=snapshot.version)
        return replace(_default(default, allowed, "the policy could not decide"), degraded=("policy",))


def _pin(arm: ArmId) -> Decision:
    return Decision(DecisionKind.PINNED, (arm,), propensity=1.0, confidence=1.0, reason="the client named the model")


def _default(default: ArmId | None, allowed: tuple[ArmId, ...], reason: str) -> Decision:
    first = (default,) if default is not None else ()
    ranked = tuple(dict.fromkeys((*first, *allowed)))
    return Decision(DecisionKind.DEFAULT, ranked, propensity=1.0, confidence=0.0, reason=reason)
