"""Feedback use case: stores a rating with its request, and an event for the learner, in one atomic step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass

from msgspec import structs

from services.gateway.records.record_writer import RecordWriter
from shared.bandit.sources import Source
from shared.errors import ClientError, Conflict, DependencyError, Gone, NotFound, RateLimited, Unavailable
from shared.metrics import GatewayMetrics
from shared.ports import Clock, RequestLog
from shared.schemas.feedback import FeedbackRequest
from shared.schemas.ids import session_hash
from shared.schemas.storage import RatingTerms, Verdict

RETRY_AFTER_S = 1.0
FEEDBACK_TIMEOUT_S = 2.0
"""No answer waits for a rating, so it may take longer than a record before the client gets a 503."""

_TAKEN = frozenset({Verdict.ACCEPTED, Verdict.REVISED, Verdict.DUPLICATE})


@dataclass(eq=False, repr=False)
class FeedbackRecorder:
    """Records ratings. `in_doubt` says whether a request may exist that Redis does not know yet."""

    log: RequestLog
    record_writer: RecordWriter
    in_doubt: Callable[[], Awaitable[bool]]
    _: KW_ONLY
    clock: Clock
    metrics: GatewayMetrics

    async def record(
        self, feedback: FeedbackRequest, *, owner: str | None, terms: RatingTerms | None = None
    ) -> Verdict:
        """Store a rating; return ACCEPTED, REVISED or DUPLICATE.

        Raises NotFound, Gone, Conflict or RateLimited where it cannot count, and Unavailable while Redis is away, or
        does not know yet of requests that this or another gateway has answered: a 202 is a promise, and a client would
        believe a 404.
        """
        try:
            async with asyncio.timeout(FEEDBACK_TIMEOUT_S):
                verdict = await self.log.rate(
                    owner=owner,
                    public_id=feedback.request_id,
                    score=feedback.score,
                    text=feedback.text,
                    now=self.clock.now(),
                    terms=terms,
                )
        except (DependencyError, TimeoutError) as error:
            raise self._unavailable("Feedback cannot be stored right now.") from error
        if verdict is Verdict.UNKNOWN and await self.in_doubt():
            raise self._unavailable("Records are behind.")
        self.metrics.feedback.labels(verdict.value).inc()
        if verdict in _TAKEN:
            if verdict is not Verdict.DUPLICATE:
                self.record_writer.wake()
            return verdict
        raise _refusal(verdict, self.clock)

    async def record_session(self, feedback: FeedbackRequest, *, owner: str, terms: RatingTerms) -> list[Verdict]:
        """Credit a rating to all steps of a session of `owner`, with weights that sum to one.

        It replaces an earlier rating of the session. A user's is kept as `Source.SESSION`, so that it does not replace
        the user's ratings of single answers. Raises the same errors.
        """
        session = session_hash(feedback.session_id or "")
        try:
            async with asyncio.timeout(FEEDBACK_TIMEOUT_S):
                steps = await self.log.session_steps(owner=owner, session=session)
        except (DependencyError, TimeoutError) as error:
            raise self._unavailable("Feedback cannot be stored right now.") from error
        if not steps and await self.in_doubt():
            raise self._unavailable("Records are behind.")
        if not steps:
            raise NotFound(
                "There is no such session, or none of its answers can be rated.",
                code="session_not_found",
                param="session_id",
            )
        source = Source.SESSION if terms.source is Source.USER else terms.source
        verdicts = []
        for own_id in steps:
            key = terms.idempotency_key and f"{terms.idempotency_key}:{own_id}"
            step = structs.replace(terms, source=source, weight=1 / len(steps), idempotency_key=key)
            verdicts.append(await self.record(structs.replace(feedback, request_id=own_id), owner=None, terms=step))
        return verdicts

    def _unavailable(self, message: str) -> Unavailable:
        self.metrics.feedback.labels("unavailable").inc()
        return Unavailable(message, code="feedback_unavailable", retry_after_s=RETRY_AFTER_S)


def _refusal(verdict: Verdict, clock: Clock) -> ClientError:
    match verdict:
        case Verdict.EXPIRED:
            return Gone("The time for rating this request is over.", code="feedback_window_over", param="request_id")
        case Verdict.LINK_USED:
            return Gone("This link has been used for a rating already.", code="link_used")
        case Verdict.NOT_RATEABLE:
            return Conflict("The request did not end with a whole answer.", code="not_rateable", param="request_id")
        case Verdict.KEY_REUSED:
            return Conflict(
                "This Idempotency-Key came with another rating before.",
                code="idempotency_key_reused",
                param="Idempotency-Key",
            )
        case Verdict.LIMITED:
            left_s = 60.0 - clock.now() % 60.0
            return RateLimited("Too many ratings a minute.", code="feedback_rate_limited", retry_after_s=left_s)
        case _:
            return NotFound("There is no such request.", code="request_not_found", param="request_id")
