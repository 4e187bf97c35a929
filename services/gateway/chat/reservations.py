"""A request's id, and its part of what its key may use: claimed beside the decision, given back where nothing follows.

A claim is never cancelled: it may have reached Redis already. Where the client leaves, or the decision fails, it is
waited for and given back in the background.

An id of our own making needs no claim, unless its client hears of it before the record is stored, as that of a stream
does: nobody else can have it, and nobody can rate it yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from services.gateway.chat.plan import ChatPorts
from services.gateway.limits.quotas import refusal, told
from services.gateway.request_context import RequestContext
from shared.errors import Conflict, DependencyError, RouterError
from shared.logs import get_logger
from shared.schemas.quota import Charge
from shared.schemas.storage import Claim, Reservation

_log = get_logger(__name__)

Answered = Callable[[], Awaitable[Claim]]
"""Waits for the claim."""


def needs_claim(request: RequestContext, charge: Charge | None, *, stream: bool) -> bool:
    """Return whether there is anything to claim."""
    return stream or charge is not None or request.public_id != request.own_id


@asynccontextmanager
async def claimed(request: RequestContext, charge: Charge | None, ports: ChatPorts) -> AsyncIterator[Answered]:
    """Claim while the inside runs, which calls for the answer; whatever the inside raises gives the claim back.

    The answer raises Conflict for an id that is taken, and RateLimited at a limit.
    """
    claiming = asyncio.create_task(_claim(request, charge, ports))
    try:
        yield partial(_checked, claiming, request, ports)
    except BaseException:
        returning = ports.supervisor.spawn("claims", partial(_give_back, claiming, request, charge, ports))
        ports.returning.add(returning)
        returning.add_done_callback(ports.returning.discard)
        raise


async def _checked(claiming: asyncio.Task[Claim], request: RequestContext, ports: ChatPorts) -> Claim:
    """Return the claim, having noted what the key has left."""
    claim = await asyncio.shield(claiming)
    if claim.reservation is Reservation.TAKEN:
        raise Conflict("This X-Request-ID has been used before.", code="duplicate_request_id", param="X-Request-ID")
    quota = claim.quota
    if quota is not None:
        now = ports.clock.now()
        request.response_headers.update(told(quota, now))
        if quota.refused is not None:
            ports.metrics.refused.labels(quota.refused.value).inc()
            raise refusal(quota, now)
    return claim


async def _claim(request: RequestContext, charge: Charge | None, ports: ChatPorts) -> Claim:
    """Claim in Redis; where that cannot be asked, take the charge from this gateway's share."""
    if ports.reserving.allows():
        try:
            async with asyncio.timeout(ports.redis_timeout_s):
                claim = await ports.log.reserve(
                    owner=request.owner, public_id=request.public_id, own_id=request.own_id, charge=charge
                )
        except (DependencyError, TimeoutError):
            ports.reserving.failed()
        else:
            ports.reserving.succeeded()
            return claim
    return Claim(Reservation.UNASKED, None if charge is None else ports.quotas.without_redis(request.owner, charge))


async def _give_back(
    claiming: asyncio.Task[Claim], request: RequestContext, charge: Charge | None, ports: ChatPorts
) -> None:
    try:
        claim = await claiming
        if claim.reservation in (Reservation.TAKEN, Reservation.REFUSED):
            return
        if claim.reservation is Reservation.UNASKED and claim.quota is not None and claim.quota.refused is None:
            ports.quotas.give_back(request.owner, charge)
        if ports.reserving.open:
            return
        # Asked, too, where Redis did not answer in time: it may have taken it all the same.
        async with asyncio.timeout(ports.redis_timeout_s):
            await ports.log.release(
                owner=request.owner, public_id=request.public_id, own_id=request.own_id, charge=charge
            )
    except (RouterError, TimeoutError) as error:
        _log.debug("a claim stays", error=str(error)[:300])
