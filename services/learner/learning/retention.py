"""Retention: drops sums and points that no longer count, and consumers of dead learners."""

from __future__ import annotations

from services.learner.writers.index_writer import DAY_S, IndexWriter
from shared.errors import DependencyError
from shared.logs import get_logger
from shared.ports import Clock, EventQueue, PosteriorStore

_HALF_LIVES = 8.0
"""After this many half-lives a day weighs 1/256 and is not read any more."""

_CONSUMER_IDLE_S = 600.0
"""A consumer without pending events that has been idle this long is dead: living ones read every few seconds."""

_log = get_logger(__name__)


def counts_for_s(recency_days: float) -> float:
    """Return how long what was learned counts."""
    return (_HALF_LIVES * recency_days + 1) * DAY_S


def faded_before(now: float, recency_days: float) -> float:
    """Return the time (Unix s) before which nothing counts any more. `now` is Unix seconds."""
    return now - counts_for_s(recency_days)


async def drop_expired(
    *, posteriors: PosteriorStore, queue: EventQueue, index_writer: IndexWriter, clock: Clock, recency_days: float
) -> None:
    """Drop expired sums, old points and dead consumers. A failure of Redis does not keep points from being dropped."""
    try:
        days = await posteriors.forget_before(faded_before(clock.now(), recency_days))
        consumers = await queue.forget_consumers(_CONSUMER_IDLE_S)
        if days or consumers:
            _log.info("expired state dropped", days=days, consumers=consumers)
    except DependencyError as error:
        _log.warning("expired state not dropped", reason=str(error))
    try:
        await index_writer.delete_old()
    except DependencyError as error:
        _log.warning("old points not deleted", reason=str(error))
