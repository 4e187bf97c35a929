"""Who is asked next: the ranked arms, at most three, until one gives its first byte."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.gateway.cooldown import CoolDowns
from services.gateway.outcome import Journal
from services.gateway.plan import ChatPorts, Plan
from shared.bandit.arms import ArmId
from shared.bandit.decision import Decision, DecisionKind
from shared.errors import ClientError, RateLimited, UpstreamError, UpstreamFailed
from shared.schemas.records import Status

MAX_ATTEMPTS = 3
MAX_SPENT = 2
"""Failures that may have been billed are tried again once: nobody pays three times for one answer."""

T = TypeVar("T")


def candidates(decision: Decision, cooldowns: CoolDowns, last_resort: ArmId | None) -> tuple[ArmId, ...]:
    """Return the arms to ask, in order: those of the decision that are not resting, the last resort at the end.

    A pinned model is asked alone: who names a model does not want another one's answer.
    """
    if decision.kind is DecisionKind.PINNED:
        return decision.ranked
    order = cooldowns.warm(decision.ranked)[:MAX_ATTEMPTS]
    if last_resort is None or last_resort in order:
        return order
    return (*order[: MAX_ATTEMPTS - 1], last_resort)


async def first_answer(
    plan: Plan, ports: ChatPorts, journal: Journal, ask: Callable[[ArmId], Awaitable[T]]
) -> tuple[T, ArmId]:
    """Ask one arm after the other; return the first answer (or opened stream) and who gave it.

    Everything that happens is in the journal, and the journal is closed before an error leaves.
    """
    spent = 0
    for position, arm in enumerate(plan.order, start=1):
        journal.begin(arm)
        try:
            answer = await ask(arm)
        except UpstreamError as error:
            journal.failed(error)
            ports.cooldowns.cool(arm, error.cool_s)
            spent += error.spent
            last = position == len(plan.order) or ports.clock.monotonic() >= plan.deadline
            if last or not error.try_next or spent >= MAX_SPENT:
                await journal.close(Status.FAILED, arm).stored
                raise _told(error) from error
        except Exception:  # a fault of ours: the id must not stay claimed by a request that no record tells of
            journal.failed(UpstreamError("unexpected", spent=True))
            await journal.close(Status.FAILED, arm).stored
            raise
        except asyncio.CancelledError:
            journal.cancelled()
            journal.close(Status.CANCELLED, arm)  # written by the recorder, whoever is gone
            raise
        else:
            return answer, arm
    raise AssertionError("an order is never empty")


def _told(error: UpstreamError) -> UpstreamError | ClientError:
    """Return what the client hears of the last failure."""
    if error.relay is not None:
        return error
    if error.timed_out:
        return UpstreamFailed("No model answered in time.", code="upstream_timeout")
    if error.status == 429:
        return RateLimited(
            "The models are rate limited upstream.", code="upstream_rate_limited", retry_after_s=max(error.cool_s, 1.0)
        )
    return UpstreamFailed("No model could answer.", code="upstream_error")
