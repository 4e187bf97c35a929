"""Who is asked next: the ranked arms, at most four, until one gives its first byte.

| failure | what follows |
|---|---|
| no connection; 408, 409, 425, 429, 5xx | the next arm; this one rests, as long as `Retry-After` says |
| timeout or disconnect after the question went out | the next arm, once, if `RETRY_AMBIGUOUS`; counted as paid |
| 200 with an error or garbage | the next arm, once; counted as paid |
| 401, 402, 403 | nobody: it is our account's, and every arm has the same; a minute's circuit for all of them |
| 400, 404, 413, 422 | told to the client; the next arm where the model is gone or its context too short |

The loop is ours, and tenacity gives the pauses: its own loop repeats one call, while here each try is another arm, ends
in the journal, and goes on or not by who may have been paid.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, wait_random_exponential

from services.gateway.cooldown import CoolDowns
from services.gateway.outcome import Journal
from services.gateway.plan import ChatPorts, Plan
from services.gateway.retry_budget import Tries
from shared.bandit.arms import ArmId
from shared.bandit.decision import Decision, DecisionKind
from shared.errors import ClientError, RateLimited, UpstreamError, UpstreamFailed
from shared.schemas.records import Status

MAX_ATTEMPTS = 4
MAX_SPENT = 2
"""Failures that may have been billed are tried again once: nobody pays three times for one answer."""

MAX_PAUSE_S = 2.0
"""A model that wants to be left alone for longer is not asked again by the same request."""

_RETRYING = AsyncRetrying(wait=wait_random_exponential(multiplier=0.05, max=MAX_PAUSE_S))

T = TypeVar("T")


def candidates(
    decision: Decision, cooldowns: CoolDowns, last_resort: ArmId | None, others: tuple[ArmId, ...] = ()
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
    if not ports.cooldowns.account.allows():
        await journal.close(Status.FAILED, plan.order[0]).stored
        raise _failed("upstream_error", retry_after_s=ports.cooldowns.account.rests_s)
    with Tries(ports.retries) as tries:
        course = _Course(plan, ports, tries)
        while True:
            arm = course.next_arm()
            try:
                if course.pause_s:
                    await asyncio.sleep(course.pause_s)
                journal.begin(arm)
                return await ask(arm), arm
            except UpstreamError as error:
                journal.failed(error)
                if not course.goes_on(error, arm):
                    await journal.close(Status.FAILED, arm).stored
                    raise _told(error) from error
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
        self._made = 0
        self.pause_s = 0.0

    def next_arm(self) -> ArmId:
        """Return whom to ask now."""
        arm = self._ports.cooldowns.begin(self._left)
        self._left.remove(arm)
        return arm

    def goes_on(self, error: UpstreamError, arm: ArmId) -> bool:
        """Return whether the next arm is asked after this failure of `arm`, and set the pause before it."""
        self._made += 1
        self._spent += error.spent
        self.pause_s = self._pause_s()
        if not self._left or not error.try_next or self._spent >= MAX_SPENT:
            return False
        if error.ambiguous and not self._ports.retry_ambiguous:
            return False
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

    def _pause_s(self) -> float:
        """Return a short, random pause, so that what fails for all is not asked by all again at once."""
        state = RetryCallState(_RETRYING, None, (), {})
        state.attempt_number = self._made
        return float(_RETRYING.wait(state))


def _told(error: UpstreamError) -> UpstreamError | ClientError:
    """Return what the client hears of the last failure."""
    if error.relay is not None:
        return error
    if error.timed_out:
        return _failed("upstream_timeout")
    if error.status == 429:
        return RateLimited(
            "The models are rate limited upstream.", code="upstream_rate_limited", retry_after_s=max(error.cool_s, 1.0)
        )
    return _failed("upstream_error")


def _failed(code: str, retry_after_s: float | None = None) -> UpstreamFailed:
    if code == "upstream_timeout":
        return UpstreamFailed("No model answered in time.", code="upstream_timeout")
    return UpstreamFailed("No model could answer.", code="upstream_error", retry_after_s=retry_after_s)
