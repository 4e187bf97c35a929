"""Reservations: a request's id and its share of the key's quota, reserved beside the decision, released where it fails.

A reservation is never cancelled: it may have reached Redis already. Where the client leaves or the decision fails, a
background task waits for it and releases it.

An id of our own making needs no reservation, unless its client learns it before the record is stored, as that of a
stream does: no other request can have it, and it cannot be rated yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import Any

from services.gateway.limits.quotas import Quotas, rate_limit_headers, refusal
from services.gateway.request_context import RequestContext
from shared.errors import Conflict, DependencyError, RouterError
from shared.logs import get_logger
from shared.metrics import GatewayMetrics
from shared.ports import Clock, RequestLog
from shared.resilience.circuit_breaker import CircuitBreaker
from shared.resilience.supervision import Supervisor
from shared.schemas.quota import Charge
from shared.schemas.storage import Claim, Reservation

_log = get_logger(__name__)

Reserved = Callable[[], Awaitable[Claim]]
"""Waits for the reservation."""


def needs_reservation(request: RequestContext, charge: Charge | None, *, stream: bool) -> bool:
    """Return whether there is anything to reserve."""
    return stream or charge is not None or request.client_id is not None


@dataclass(eq=False, repr=False)
class Reservations:
    """Reserves in Redis; while that is away, takes charges from this gateway's share of the quota."""

    log: RequestLog
    breaker: CircuitBreaker
    quotas: Quotas
    supervisor: Supervisor
    _: KW_ONLY
    clock: Clock
    metrics: GatewayMetrics
    timeout_s: float
    _releases: set[asyncio.Task[None]] = field(init=False, default_factory=set)

    @asynccontextmanager
    async def reserved(self, request: RequestContext, charge: Charge | None) -> AsyncIterator[Reserved]:
        """Reserve while the block runs, which awaits the result; an error out of the block releases the reservation.

        Awaiting the result sets the request's rate-limit headers, and raises Conflict for an id that is taken, or
        RateLimited at a limit.
        """
        reserving = asyncio.create_task(self._reserve(request, charge))
        try:
            yield partial(self._checked, reserving, request)
        except BaseException:
            self._begin_release(partial(self._release, reserving, request, charge))
            raise

    def give_back(self, request: RequestContext, charge: Charge, *, in_redis: bool) -> None:
        """Give back, in the background, what a request that leaves no record has not used of its charge."""
        if in_redis:
            self._begin_release(partial(self._release_in_redis, request, charge))
        else:
            self.quotas.give_back(request.owner, charge)

    async def settle(self) -> None:
        """Wait until every release that has begun is done."""
        await asyncio.gather(*self._releases, return_exceptions=True)

    async def _checked(self, reserving: asyncio.Task[Claim], request: RequestContext) -> Claim:
        claim = await asyncio.shield(reserving)
        if claim.reservation is Reservation.TAKEN:
            raise Conflict("This X-Request-ID has been used before.", code="duplicate_request_id", param="X-Request-ID")
        quota = claim.quota
        if quota is not None:
            now = self.clock.now()
            request.response_headers.update(rate_limit_headers(quota, now))
            if quota.refused is not None:
                self.metrics.refused.labels(quota.refused.value).inc()
                raise refusal(quota, now)
        return claim

    async def _reserve(self, request: RequestContext, charge: Charge | None) -> Claim:
        if self.breaker.allows():
            try:
                async with asyncio.timeout(self.timeout_s):
                    claim = await self.log.reserve(
                        owner=request.owner, public_id=request.public_id, own_id=request.own_id, charge=charge
                    )
            except (DependencyError, TimeoutError):
                self.breaker.failed()
            else:
                self.breaker.succeeded()
                return claim
        quota = None if charge is None else self.quotas.without_redis(request.owner, charge)
        return Claim(Reservation.UNASKED, quota)

    async def _release(self, reserving: asyncio.Task[Claim], request: RequestContext, charge: Charge | None) -> None:
        try:
            claim = await reserving
            if claim.reservation in (Reservation.TAKEN, Reservation.REFUSED):
                return
            if claim.reservation is Reservation.UNASKED and claim.quota is not None and claim.quota.refused is None:
                self.quotas.give_back(request.owner, charge)
        except (RouterError, TimeoutError) as error:
            _log.debug("a claim stays", error=str(error)[:300])
            return
        # Also where Redis did not answer in time: it may have made the reservation all the same.
        await self._release_in_redis(request, charge)

    async def _release_in_redis(self, request: RequestContext, charge: Charge | None) -> None:
        if self.breaker.open:
            return
        try:
            async with asyncio.timeout(self.timeout_s):
                await self.log.release(
                    owner=request.owner, public_id=request.public_id, own_id=request.own_id, charge=charge
                )
        except (RouterError, TimeoutError) as error:
            _log.debug("a claim stays", error=str(error)[:300])

    def _begin_release(self, release: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = self.supervisor.spawn("claims", release)
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)
