"""A command for a person: Redis and Qdrant from the history, as they would be had they never been lost.

Sums are integers, and the history keeps what each request has added to them: they come back to the last digit. What was
recorded or rated but not yet learned when Redis was lost is learned now. Repeated, it ends in the same state.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from services.learner.historian import Historian
from services.learner.index import DAY_S, point_of
from services.learner.learn import effect_of
from services.learner.maintenance import faded_before
from shared.bandit.arms import ArmId
from shared.bandit.learning import with_cluster
from shared.bandit.sums import Centroids, by_arm
from shared.errors import CorruptState, RouterError
from shared.ports import Clock, Heartbeats, History, Outbox, PosteriorStore, RequestIndex, Restorer
from shared.schemas.events import Event, EventKind
from shared.schemas.history import Contribution, PastRequest
from shared.schemas.records import Lesson
from shared.schemas.storage import EmbeddingModel, LoggedRequest, Point
from shared.storage.redis_keys import day_of

Progress = Callable[[int, int], None]
"""Requests done, requests in all."""


class Refused(RouterError):
    """It would destroy something."""


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """From where to where."""

    history: History
    historian: Historian
    outbox: Outbox
    restorer: Restorer
    posteriors: PosteriorStore
    index: RequestIndex
    heartbeats: Heartbeats
    clock: Clock


@dataclass(slots=True)
class Rebuilt:
    """What has been put back; `unlearned`: requests or ratings with figures that nothing can be learned from."""

    requests: int = 0
    points: int = 0
    unlearned: int = 0
    days: dict[tuple[ArmId, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    models: set[EmbeddingModel] = field(default_factory=set)


async def rebuild(
    places: Places, progress: Progress, *, recency_days: float, lifetime_s: float, wipe: bool, patience_s: float = 0.0
) -> Rebuilt:
    """Put everything back. `lifetime_s` is how long a request is kept in Redis; `wipe` forgets what is there first.

    `patience_s` is how long learners that have just been stopped may still seem to live.

    Raises Refused where there is something and `wipe` is not set, or while others write; DependencyError: run it again,
    with `wipe`.
    """
    await _check(places, wipe=wipe, patience_s=patience_s)
    if wipe:
        await places.restorer.clear()
    now = places.clock.now()
    faded, recent = faded_before(now, recency_days) // DAY_S * DAY_S, now - recency_days * DAY_S
    since = min(faded, now - lifetime_s)
    done, total = Rebuilt(), await places.history.count(since=since)
    progress(0, total)
    centroids = await places.history.centroids()
    async for page in places.history.read(since=since):
        past = [replace(each, ledger=tuple(_counted(each, _ledger(each, done), centroids))) for each in page]
        for each in past:
            if each.entry.record.created_at >= faded:
                _add(each, done)
        await places.restorer.requests(past)
        await _index(past, places, done, since=recent, wipe=wipe)
        done.requests += len(past)
        progress(done.requests, max(total, done.requests))
    if centroids is not None:
        await places.posteriors.save_centroids(centroids)
    await places.restorer.sums(done.days)
    return done


async def _check(places: Places, *, wipe: bool, patience_s: float) -> None:
    until = places.clock.monotonic() + patience_s
    while learners := await places.heartbeats.alive():
        if places.clock.monotonic() >= until:
            raise Refused(f"{len(learners)} learner(s) at work: stop them and try again")
        await asyncio.sleep(1.0)
    if not wipe and not await places.restorer.is_empty():
        raise Refused(
            "Redis holds requests or learned state; --replace forgets them first, what the history lacks, too"
        )
    await places.history.prepare()
    while await places.historian.step():  # what still waits for the history must not be forgotten with the rest
        pass
    waiting = (await places.outbox.depth()).waiting
    if waiting:
        raise Refused(f"{waiting} entries still wait for the history and cannot be written now")


def _ledger(past: PastRequest, done: Rebuilt) -> Iterator[Contribution]:
    """Yield what a request has added to the sums, or would have, had a learner come to it."""
    record, rating = past.entry.record, past.rating
    outcome, feedback = past.contribution(EventKind.OUTCOME), past.contribution(EventKind.FEEDBACK)
    if outcome is None:
        outcome = _learned(Event("0-1", EventKind.OUTCOME, record.id, 1), past, done)
    if rating is not None and (feedback is None or feedback.revision < rating.revision):
        event = Event("0-1", EventKind.FEEDBACK, record.id, rating.revision, score=rating.score)
        taken_back = Contribution(record.id, EventKind.FEEDBACK, rating.revision, {})
        feedback = taken_back if rating.score is None else _learned(event, past, done)
    yield from (each for each in (outcome, feedback) if each is not None)


def _counted(past: PastRequest, ledger: Iterator[Contribution], centroids: Centroids | None) -> Iterator[Contribution]:
    """Yield the ledger counted by the newest clusters, as learners do; the history keeps it as it was learned."""
    for each in ledger:
        if centroids is None:
            yield each
        else:
            yield replace(each, sums=with_cluster(each.sums, centroids.cluster_of(past.entry.vector)))


def _learned(event: Event, past: PastRequest, done: Rebuilt) -> Contribution | None:
    try:
        effect = effect_of(event, _logged(past))
    except (CorruptState, ValueError, OverflowError):
        done.unlearned += 1
        return None
    return Contribution(event.request_id, event.kind, event.revision, effect.sums)


def _logged(past: PastRequest) -> LoggedRequest:
    score = None if past.rating is None else past.rating.score
    return LoggedRequest(Lesson.of(past.entry.record), past.entry.vector, score, past.revision)


def _add(past: PastRequest, done: Rebuilt) -> None:
    record = past.entry.record
    for contribution in past.ledger:
        for arm, sums in by_arm(record.outcome.arm, contribution.sums).items():
            done.days[arm, day_of(record.created_at)].update(sums)


async def _index(past: Sequence[PastRequest], places: Places, done: Rebuilt, *, since: float, wipe: bool) -> None:
    """Write the points of a page, those of each embedding model into its own collection."""
    points: dict[EmbeddingModel, list[Point]] = defaultdict(list)
    for each in past:
        name, vector = each.entry.record.embedding_model, each.entry.vector
        if name is None or vector is None:
            continue
        model = EmbeddingModel(name, vector.shape[0])
        point = point_of(_logged(each), model, since=since)
        if point is not None:
            points[model].append(point)
    for model, some in points.items():
        await places.index.prepare(model)
        if wipe and model not in done.models:
            await places.index.delete_before(places.clock.now() + 365 * DAY_S)
        done.models.add(model)
        await places.index.upsert(some)
        done.points += len(some)
