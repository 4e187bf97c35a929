"""Upstream caller: calls the arms of a plan one after the other, at most four, until one of them answers.

| scope of the failure (`shared/clients/refusals.py`) | what follows |
|---|---|
| REQUEST | the error goes to the client |
| FIT | the next arm, without a pause |
| ARM: 404, 408, 409, 425, 429, 5xx, no connection | the next arm; this one cools down for `Retry-After` |
| ARM, spent: timeout or disconnect after the request was sent, garbage | the next arm, once; counted as paid |
| KEY | the next arm, until the key's circuit opens: then arms of other upstreams |
| CREDIT | the next arm, cheaper ones first; while the credit's circuit is open, the free ones and other upstreams |

A failure without a status (no connection, a time-out) may be the upstream's: arms of other upstreams come next. The
prompt of an arm of a private upstream never leaves that upstream.

`final_errors.py` has the error that the client gets in the end.

The loop is ours: a library's loop repeats one call, while here each try is another arm, and whether the next one
follows depends on whether this one may have been billed.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass
from http import HTTPStatus
from typing import TypeVar

from services.gateway.chat.chat_metrics import ChatMetrics
from services.gateway.chat.final_errors import verdict
from services.gateway.chat.journal import Journal, unanswered_usd
from services.gateway.chat.plan import ChatPlan
from services.gateway.limits.learned_limits import LearnedLimits
from services.gateway.limits.retry_budget import RetryBudget, Tries
from services.gateway.models.catalogue import Catalogue
from shared.bandit.arms import ArmId
from shared.bandit.decision import Decision, DecisionKind
from shared.errors import ClientError, Scope, UpstreamError
from shared.ports import Clock
from shared.resilience.upstream_circuits import CircuitBreakers

MAX_ATTEMPTS = 4
MAX_SPENT = 2
"""A failure that may have been billed is retried once: no answer is paid three times."""

MAX_PAUSE_S = 2.0
"""An arm that asks for a longer pause is not called again by the same request."""

FIRST_PAUSE_S = 0.05
"""Longest random pause before the second call; it doubles with each failure."""

T = TypeVar("T")


def call_order(
    decision: Decision,
    circuit_breakers: CircuitBreakers,
    last_resort: ArmId | None,
    others: tuple[ArmId, ...] = (),
    *,
    private: Callable[[ArmId], bool] | None = None,
) -> tuple[ArmId, ...]:
    """Return the arms to call, in order: the decision's, the last resort, then `others`; those that cool down last.

    A single arm is called a second time: a client that names a model does not want the answer of another one. `private`
    says whether the prompt of an arm must stay with its upstream.
    """
    if decision.kind is DecisionKind.PINNED:
        return decision.ranked * 2
    ranked = circuit_breakers.by_cooldown(decision.ranked)
    resort = () if last_resort is None else (last_resort,)
    order = tuple(
        dict.fromkeys((*ranked[: MAX_ATTEMPTS - len(resort)], *resort, *circuit_breakers.by_cooldown(others)))
    )
    upstream_of = circuit_breakers.upstream_of
    if private is not None and private(order[0]):
        order = tuple(arm for arm in order if upstream_of(arm) == upstream_of(order[0]))
    if len(order) > MAX_ATTEMPTS:
        order = _spread(order, upstream_of)
    return order * 2 if len(order) == 1 else order[:MAX_ATTEMPTS]


def _spread(order: tuple[ArmId, ...], upstream_of: Callable[[ArmId], str]) -> tuple[ArmId, ...]:
    """Return the arms with one of another upstream among those that will be called, if there is one."""
    first = upstream_of(order[0])
    if any(upstream_of(arm) != first for arm in order[:MAX_ATTEMPTS]):
        return order
    other = next((arm for arm in order if upstream_of(arm) != first), None)
    return order if other is None else (*order[: MAX_ATTEMPTS - 1], other)


@dataclass(eq=False, repr=False)
class UpstreamCaller:
    """Calls arms within the retry budget, and reports failures to circuit breakers, learned limits and metrics."""

    _: KW_ONLY
    circuit_breakers: CircuitBreakers
    learned_limits: LearnedLimits
    retry_budget: RetryBudget
    catalogue: Catalogue
    metrics: ChatMetrics
    clock: Clock
    retry_ambiguous: bool

    async def call(self, plan: ChatPlan, journal: Journal, send: Callable[[ArmId], Awaitable[T]]) -> T:
        """Return the first answer (or opened stream); the journal names its arm.

        Raises UpstreamError with `relay` where the upstream refuses the request itself, and UpstreamFailed,
        RateLimited or InsufficientCredit where no arm could answer.
        """
        with Tries(self.retry_budget) as tries:
            course = _Course(plan, self, tries)
            while (arm := course.next_arm()) is not None:
                journal.arm = arm
                if course.pause_s:
                    await asyncio.sleep(course.pause_s)
                if journal.begin():
                    self.metrics.count_overhead(journal.overhead_s)
                try:
                    return await send(arm)
                except UpstreamError as error:
                    self._note_failure(plan, journal, error)
                    if not course.goes_on(error, arm):
                        raise course.verdict() from error
                except ConnectionResetError:  # the client's: an upstream's is an UpstreamError
                    raise
                except Exception:
                    self._note_failure(plan, journal, None)
                    raise
            journal.arm = plan.order[0]
            raise course.verdict()

    def report_failure(self, plan: ChatPlan, arm: ArmId, error: UpstreamError) -> None:
        """Report a failed call of `arm` to circuit breakers, learned limits and metrics."""
        tokens = plan.asked_tokens() if error.scope is Scope.CREDIT else 0
        self.circuit_breakers.failed(arm, error, request=plan.request.own_id, tokens=tokens)
        if error.scope is Scope.FIT and error.feature is not None:
            self.learned_limits.learn(arm, error.feature, plan.chat.requirements)
        self.metrics.count_failure(arm, error.label)

    def _note_failure(self, plan: ChatPlan, journal: Journal, error: UpstreamError | None) -> None:
        """Note a failure before the first byte; `error` is None for a fault of ours."""
        spent = error is None or error.spent
        cost_usd = unanswered_usd(plan, self.catalogue.price(journal.arm)) if spent else 0.0
        journal.failed(error, cost_usd)
        self.metrics.count_cost(journal.arm, cost_usd)
        if error is not None:
            self.report_failure(plan, journal.arm, error)


class _Course:
    """How far one request has come through its arms."""

    def __init__(self, plan: ChatPlan, caller: UpstreamCaller, tries: Tries) -> None:
        self._plan = plan
        self._caller = caller
        self._circuit_breakers = caller.circuit_breakers
        self._tries = tries
        self._left = list(plan.order)
        self._failed_at: set[str] = set()
        self._keys: dict[str, bool] = {}  # whether the key of an upstream may be used by this request
        self._spent = 0
        self._errors: list[UpstreamError] = []
        self.pause_s = 0.0

    def next_arm(self) -> ArmId | None:
        """Return the arm to call now; None where the account allows none of those that are left."""
        breakers, named = self._circuit_breakers, self._plan.names_model
        while self._left:
            arm = breakers.first_of(self._left)
            self._left.remove(arm)
            if self._key_allows(arm) and breakers.may_ask(arm, self._plan.asked_tokens, named=named):
                return breakers.begin((arm,))
        return None

    def _key_allows(self, arm: ArmId) -> bool:
        """Return whether the key of the arm's upstream may be used: while its circuit is open, by one probe."""
        upstream = self._circuit_breakers.upstream_of(arm)
        if upstream not in self._keys:
            self._keys[upstream] = self._circuit_breakers.account_at(upstream).key.breaker.allows()
        return self._keys[upstream]

    def verdict(self) -> UpstreamError | ClientError:
        """Return the error for the client."""
        return verdict(self._errors, self._plan, self._circuit_breakers)

    def goes_on(self, error: UpstreamError, arm: ArmId) -> bool:
        """Return whether the next arm is called after this failure of `arm`, and set the pause before it."""
        self._errors.append(error)
        self._spent += error.spent
        self._failed_at.add(self._circuit_breakers.upstream_of(arm))
        self._turn_to_others(error, arm)
        if not self._left or self._is_last(error):
            return False
        self.pause_s = 0.0
        if error.scope is Scope.CREDIT or error.status == HTTPStatus.PAYMENT_REQUIRED:
            self._left.sort(key=self._price)
        if error.scope in (Scope.FIT, Scope.CREDIT):  # nothing is down: no pause, and no use of the retry budget
            return arm not in self._left and self._caller.clock.monotonic() < self._plan.deadline
        self.pause_s = self._pause_s()
        if arm in self._left:  # the same arm again
            self.pause_s = max(self.pause_s, error.cool_s)
            if self.pause_s > MAX_PAUSE_S or not error.passing:
                return False
        if self._caller.clock.monotonic() + self.pause_s >= self._plan.deadline:
            return False
        allowed = self._is_elsewhere() or self._tries.again()
        if not allowed:
            self._caller.metrics.count_refused_retry()
        return allowed

    def _is_elsewhere(self) -> bool:
        """Return whether the next call goes to an upstream that has not failed this request: none gets more load."""
        breakers = self._circuit_breakers
        return breakers.upstream_of(breakers.first_of(self._left)) not in self._failed_at

    def _is_last(self, error: UpstreamError) -> bool:
        """Return whether no arm may be called after this failure."""
        if error.ambiguous and not self._caller.retry_ambiguous:
            return True
        return not error.try_next or self._spent >= MAX_SPENT

    def _turn_to_others(self, error: UpstreamError, arm: ArmId) -> None:
        """Leave, or put last, arms of the same upstream where the failure may be that of the upstream."""
        breakers = self._circuit_breakers
        upstream = breakers.upstream_of(arm)
        if error.scope is Scope.KEY and breakers.account(arm).key.breaker.open:
            self._left = [other for other in self._left if breakers.upstream_of(other) != upstream]
        elif error.status is None:
            self._left.sort(key=lambda other: breakers.upstream_of(other) == upstream)

    def _price(self, arm: ArmId) -> float:
        """Return the sort key of arms by cost: free ones first, unknown prices last."""
        if not self._circuit_breakers.costs_money(arm):
            return 0.0
        price = self._caller.catalogue.price(arm)
        return math.inf if price is None else price.cost_usd(1, 1)

    def _pause_s(self) -> float:
        """Return a random pause ("full jitter"), so that requests that failed together do not retry together."""
        return random.uniform(0, min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** (len(self._errors) - 1)))
