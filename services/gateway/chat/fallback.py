"""Who is asked next: the ranked arms, at most four, until one gives its first byte.

| scope of the failure (`shared/clients/refusals.py`) | what follows |
|---|---|
| REQUEST | told to the client |
| FIT | the next arm, at once |
| ARM: 404, 408, 409, 425, 429, 5xx, no connection | the next arm; this one rests, as long as `Retry-After` says |
| ARM, spent: timeout or disconnect after the question went out, garbage | the next arm, once; counted as paid |
| KEY | the next arm, until the key's circuit opens: then nobody |
| CREDIT | the next arm, those that cost less first; while the credit's circuit is open, the free ones |

What the client hears in the end is in `verdicts.py`.

The loop is ours: a library's loop repeats one call, while here each try is another arm, ends in the journal, and goes
on or not by who may have been paid.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from services.gateway.chat.final_errors import is_named, key_refused, verdict
from services.gateway.chat.journal import Journal, asked_tokens
from services.gateway.chat.plan import ChatPorts, Plan
from services.gateway.limits.circuit_breakers import CircuitBreakers
from services.gateway.limits.retry_budget import Tries
from shared.bandit.arms import ArmId
from shared.bandit.decision import Decision, DecisionKind
from shared.errors import ClientError, Scope, UpstreamError
from shared.schemas.records import Status

MAX_ATTEMPTS = 4
MAX_SPENT = 2
"""Failures that may have been billed are tried again once: nobody pays three times for one answer."""

MAX_PAUSE_S = 2.0
"""A model that wants to be left alone for longer is not asked again by the same request."""

FIRST_PAUSE_S = 0.05
"""Longest random pause before the second call; it doubles with each failure."""

T = TypeVar("T")


def candidates(
    decision: Decision, cooldowns: CircuitBreakers, last_resort: ArmId | None, others: tuple[ArmId, ...] = ()
) -> tuple[ArmId, ...]:
    """Return the arms to ask, in order: those of the decision, the last resort, then `others` that rest right now.

    Where one model alone may answer, it is asked a second time: who names a model does not want another one's answer.
    """
    if decision.kind is DecisionKind.PINNED:
        return decision.ranked * 2
    ranked = cooldowns.by_rest(decision.ranked)
    resort = () if last_resort is None else (last_resort,)
    order = tuple(dict.fromkeys((*ranked[: MAX_ATTEMPTS - len(resort)], *resort, *cooldowns.by_rest(others))))
    return order * 2 if len(order) == 1 else order[:MAX_ATTEMPTS]


async def first_answer(
    plan: Plan, ports: ChatPorts, journal: Journal, ask: Callable[[ArmId], Awaitable[T]]
) -> tuple[T, ArmId]:
    """Ask one arm after the other; return the first answer (or opened stream) and who gave it.

    Everything that happens is in the journal, and the journal is closed before an error leaves.
    """
    if not ports.cooldowns.key.breaker.allows():
        await journal.close(Status.FAILED, plan.order[0]).stored
        raise key_refused(retry_after_s=ports.cooldowns.key.breaker.rests_s)
    with Tries(ports.retries) as tries:
        course = _Course(plan, ports, tries)
        while True:
            arm = course.next_arm()
            if arm is None:
                await journal.close(Status.FAILED, plan.order[0]).stored
                raise course.verdict()
            try:
                if course.pause_s:
                    await asyncio.sleep(course.pause_s)
                journal.begin(arm)
                return await ask(arm), arm
            except UpstreamError as error:
                journal.failed(error)
                if not course.goes_on(error, arm):
                    await journal.close(Status.FAILED, arm).stored
                    raise course.verdict() from error
            except ConnectionResetError:  # the client's: an upstream's is an UpstreamError
                journal.cancelled()
                journal.close(Status.CANCELLED, arm)
                raise
            except Exception:  # a fault of ours: the id must not stay claimed by a request that no record tells of
                journal.failed(None)
                await journal.close(Status.FAILED, arm).stored
                raise
            except asyncio.CancelledError:
                journal.cancelled()
                journal.close(Status.CANCELLED, arm)  # written by the recorder, whoever is gone
                raise


class _Course:
    """How far one request has come through its arms."""

    def __init__(self, plan: Plan, ports: ChatPorts, tries: Tries) -> None:
        self._plan = plan
        self._ports = ports
        self._tries = tries
        self._left = list(plan.order)
        self._spent = 0
        self._errors: list[UpstreamError] = []
        self.pause_s = 0.0

    def next_arm(self) -> ArmId | None:
        """Return whom to ask now; None where the account allows nobody of those that are left."""
        cooldowns, named = self._ports.cooldowns, is_named(self._plan)
        while self._left:
            arm = cooldowns.first_of(self._left)
            self._left.remove(arm)
            if cooldowns.may_ask(arm, partial(asked_tokens, self._plan), named=named):
                return cooldowns.begin((arm,))
        return None

    def verdict(self) -> UpstreamError | ClientError:
        """Return what the client hears."""
        return verdict(self._errors, self._plan, self._ports.cooldowns)

    def goes_on(self, error: UpstreamError, arm: ArmId) -> bool:
        """Return whether the next arm is asked after this failure of `arm`, and set the pause before it."""
        self._errors.append(error)
        self._spent += error.spent
        if not self._left or self._is_last(error):
            return False
        self.pause_s = 0.0
        if error.scope is Scope.CREDIT or error.status == HTTPStatus.PAYMENT_REQUIRED:
            self._left.sort(key=self._price)
        if error.scope in (Scope.FIT, Scope.CREDIT):  # nothing is down: no pause, and no share of the second tries
            return arm not in self._left and self._ports.clock.monotonic() < self._plan.deadline
        self.pause_s = self._pause_s()
        if arm in self._left:  # the same model again
            self.pause_s = max(self.pause_s, error.cool_s)
            if self.pause_s > MAX_PAUSE_S or not error.passing:
                return False
        if self._ports.clock.monotonic() + self.pause_s >= self._plan.deadline:
            return False
        allowed = self._tries.again()
        if not allowed:
            self._ports.metrics.retries_refused.inc()
        return allowed

    def _is_last(self, error: UpstreamError) -> bool:
        """Return whether nobody may be asked after this failure."""
        if error.ambiguous and not self._ports.retry_ambiguous:
            return True
        if error.scope is Scope.KEY and self._ports.cooldowns.key.breaker.open:
            return True
        return not error.try_next or self._spent >= MAX_SPENT

    def _price(self, arm: ArmId) -> float:
        """Return what orders arms by cost: free ones first, unknown prices last."""
        if not self._ports.cooldowns.costs_money(arm):
            return 0.0
        price = self._ports.catalogue.price(arm)
        return math.inf if price is None else price.cost_usd(1, 1)

    def _pause_s(self) -> float:
        """Return a random pause ("full jitter"), so that requests that failed together do not retry together."""
        return random.uniform(0, min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** (len(self._errors) - 1)))
