"""The use case: a rating becomes part of its request and an event for the learner, in one atomic step."""

from __future__ import annotations

import asyncio

from services.gateway.recorder import Recorder
from shared.errors import Conflict, DependencyError, Gone, NotFound, Unavailable
from shared.metrics import GatewayMetrics
from shared.ports import Clock, RequestLog
from shared.schemas.feedback import FeedbackRequest
from shared.schemas.storage import Verdict

RETRY_AFTER_S = 1.0
FEEDBACK_TIMEOUT_S = 2.0
"""Nobody's answer waits for a rating, so it may take longer than a record before the client is told to come again."""


async def record_feedback(
    feedback: FeedbackRequest,
    *,
    owner: str | None,
    log: RequestLog,
    recorder: Recorder,
    clock: Clock,
    metrics: GatewayMetrics,
) -> Verdict:
    """Store a rating; return ACCEPTED, REVISED or DUPLICATE.

    Raises NotFound, Gone or Conflict where it cannot count, and Unavailable while Redis is away: a 202 is a promise.
    """
    try:
        async with asyncio.timeout(FEEDBACK_TIMEOUT_S):
            verdict = await log.rate(
                owner=owner,
                public_id=feedback.request_id,
                score=feedback.score,
                text=feedback.text,
                now=clock.now(),
            )
    except (DependencyError, TimeoutError) as error:
        metrics.feedback.labels("unavailable").inc()
        raise Unavailable(
            "Feedback cannot be stored right now.", code="feedback_unavailable", retry_after_s=RETRY_AFTER_S
        ) from error
    metrics.feedback.labels(verdict.value).inc()
    match verdict:
        case Verdict.UNKNOWN:
            raise NotFound("There is no such request.", code="request_not_found", param="request_id")
        case Verdict.EXPIRED:
            raise Gone("The time for rating this request is over.", code="feedback_window_over", param="request_id")
        case Verdict.NOT_RATEABLE:
            raise Conflict("The request did not end with a whole answer.", code="not_rateable", param="request_id")
        case Verdict.ACCEPTED | Verdict.REVISED:
            recorder.wake()
        case Verdict.DUPLICATE:
            pass
    return verdict
