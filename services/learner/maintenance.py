"""Housekeeping: what has faded is dropped, and who has died is taken off the list."""

from __future__ import annotations

from services.learner.index import DAY_S, Indexer
from shared.errors import DependencyError
from shared.logs import get_logger
from shared.ports import Clock, EventQueue, PosteriorStore

_HALF_LIVES = 8.0
"""After as many half-lives a day weighs 1/256, and nobody reads it any more."""

_CONSUMER_IDLE_S = 600.0
"""A consumer that holds nothing and has been silent this long is dead: living ones read every few seconds."""

_log = get_logger(__name__)


def faded_before(now: float, recency_days: float) -> float:
    """Return the Unix second before which nothing counts any more."""
    return now - (_HALF_LIVES * recency_days + 1) * DAY_S


async def keep_house(
    *, posteriors: PosteriorStore, queue: EventQueue, indexer: Indexer, clock: Clock, recency_days: float
) -> None:
    """Drop faded days, old points and dead consumers. Each part is tried even when another's dependency is away."""
    try:
        days = await posteriors.forget_before(faded_before(clock.now(), recency_days))
        consumers = await queue.forget_consumers(_CONSUMER_IDLE_S)
        if days or consumers:
            _log.info("faded state dropped", days=days, consumers=consumers)
    except DependencyError as error:
        _log.warning("housekeeping put off", reason=str(error))
    try:
        await indexer.forget_old()
    except DependencyError as error:
        _log.warning("old points kept for now", reason=str(error))
