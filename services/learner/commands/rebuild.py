"""Command `rebuild`: restores Redis and Qdrant from the history in PostgreSQL.

Sums are integers, and the history keeps what each request has added to them, so they are restored exactly. Outcomes and
ratings that were stored but not yet learned when Redis was lost are learned now. The command is idempotent.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import structs

from services.learner.commands.rebuild_kinds import KindReplay
from services.learner.learning.assign_kinds import model_of
from services.learner.learning.effects import effect_of
from services.learner.learning.imported import import_points, import_sums
from services.learner.learning.retention import faded_before
from services.learner.writers.history_writer import HistoryWriter
from services.learner.writers.index_writer import DAY_S, point_of
from shared.bandit.arms import ArmId
from shared.bandit.learning import with_kind
from shared.bandit.sources import Source
from shared.bandit.sums import by_arm
from shared.clock import utc_day
from shared.errors import CorruptState, RouterError
from shared.import_store import ImportHistory, ImportStore
from shared.ports import Clock, Heartbeats, History, Outbox, RequestIndex, Restorer
from shared.schemas.events import NO_ENTRY, Event, EventKind
from shared.schemas.history import Contribution, PastRequest
from shared.schemas.imports import StoredImport
from shared.schemas.records import Lesson
from shared.schemas.storage import EmbeddingModel, LoggedRequest, Point

Progress = Callable[[int, int], None]
"""Called with requests done and requests in all."""

PointsByModel = Mapping[EmbeddingModel, Sequence[Point]]


class RebuildRefused(RouterError):
    """The rebuild was refused: it would destroy data, or other processes are writing."""


@dataclass(frozen=True, slots=True, eq=False)
class RebuildStores:
    """The stores a rebuild reads and writes."""

    history: History
    history_writer: HistoryWriter
    outbox: Outbox
    restorer: Restorer
    index: RequestIndex
    heartbeats: Heartbeats
    clock: Clock
    imports: ImportStore
    import_history: ImportHistory


@dataclass(slots=True)
class Rebuilt:
    """Counts and sums restored so far.

    Attributes:
        imports: imported prompts.
        unlearned: outcomes or ratings with figures that cannot be learned from.
    """

    requests: int = 0
    imports: int = 0
    points: int = 0
    unlearned: int = 0
    days: dict[tuple[ArmId, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    models: set[EmbeddingModel] = field(default_factory=set)


async def rebuild(
    stores: RebuildStores,
    progress: Progress,
    *,
    recency_days: float,
    lifetime_s: float,
    wipe: bool,
    learner_timeout_s: float = 0.0,
) -> Rebuilt:
    """Restore everything the history has.

    Args:
        stores: where to read and write.
        progress: called after each page.
        recency_days: half-life of the sums.
        lifetime_s: how long Redis keeps a request.
        wipe: delete what Redis and Qdrant hold first.
        learner_timeout_s: how long to wait for learners to stop; one that has just stopped still counts as alive.

    Raises:
        RebuildRefused: Redis holds data and `wipe` is not set, or a learner runs.
        DependencyError: a store failed; run it again, with `wipe`.
    """
    await _check(stores, wipe=wipe, learner_timeout_s=learner_timeout_s)
    if wipe:
        await stores.restorer.clear()
    now = stores.clock.now()
    faded, recent = faded_before(now, recency_days) // DAY_S * DAY_S, now - recency_days * DAY_S
    since = min(faded, now - lifetime_s)
    done, total = Rebuilt(), await stores.history.count(since=since)
    progress(0, total)
    replay = KindReplay(stores.clock)
    await replay.read(stores.history, since=faded)
    async for page in stores.history.read(since=since):
        past = [structs.replace(each, ledger=tuple(_ledger(each, replay, done))) for each in page]
        for each in past:
            if each.entry.record.created_at >= faded:
                _add(each, done)
        await stores.restorer.requests(past)
        await _index(_points(past, since=recent), stores, done, wipe=wipe)
        done.requests += len(past)
        progress(done.requests, max(total, done.requests))
    async for imports in stores.import_history.read(since=faded):
        await _restore_imports(imports, stores, replay, done, since=recent, wipe=wipe)
    if replay.kinds is not None:
        await stores.restorer.kinds(replay.kinds)
    await stores.restorer.sums(done.days)
    return done


async def _check(stores: RebuildStores, *, wipe: bool, learner_timeout_s: float) -> None:
    until = stores.clock.monotonic() + learner_timeout_s
    while learners := await stores.heartbeats.alive():
        if stores.clock.monotonic() >= until:
            raise RebuildRefused(f"{len(learners)} learner(s) running: stop them and try again")
        await asyncio.sleep(1.0)
    if not wipe and not await stores.restorer.is_empty():
        raise RebuildRefused(
            "Redis holds requests or learned state; --replace deletes it first, also what the history does not have"
        )
    await stores.history.prepare()
    while await stores.history_writer.step():  # the outbox must not be deleted with the rest
        pass
    waiting = (await stores.outbox.depth()).waiting
    if waiting:
        raise RebuildRefused(f"{waiting} entries wait to be written to the history, and cannot be written now")


def _ledger(past: PastRequest, replay: KindReplay, done: Rebuilt) -> Iterator[Contribution]:
    """Yield what a request has added to the sums, or would have added if a learner had processed it."""
    request, unlearned = _logged(past), list(_unlearned(past))
    if request.assigned is None and (unlearned or not replay.began):
        request = structs.replace(request, assigned=replay.assign(request))
    learned = {each.ledger: each for each in past.ledger}
    learned |= {event.ledger: each for event in unlearned if (each := _learned(event, request, done)) is not None}
    for each in learned.values():
        if replay.began:
            yield each
        else:  # a history without kinds
            yield structs.replace(each, sums=with_kind(each.sums, request.kind), assigned=request.assigned)


def _unlearned(past: PastRequest) -> Iterator[Event]:
    """Yield the events of a request that no learner has processed."""
    own_id = past.entry.record.id
    if past.contribution(EventKind.OUTCOME) is None:
        yield Event(NO_ENTRY, EventKind.OUTCOME, own_id, 1)
    if past.evaluation is not None and past.contribution(EventKind.EVALUATION) is None:
        yield Event(NO_ENTRY, EventKind.EVALUATION, own_id, 1)
    for source in Source:
        rating, learned = past.rating_by(source), past.contribution(EventKind.FEEDBACK, source)
        if rating is not None and (learned is None or learned.revision < rating.revision):
            event = Event(NO_ENTRY, EventKind.FEEDBACK, own_id, rating.revision, score=rating.score)
            yield structs.replace(event, source=source, weight=rating.weight)


def _learned(event: Event, request: LoggedRequest, done: Rebuilt) -> Contribution | None:
    withdrawn = event.kind is EventKind.FEEDBACK and event.score is None
    try:
        sums = {} if withdrawn else effect_of(event, request).sums
    except (CorruptState, ValueError, OverflowError):
        done.unlearned += 1
        return None
    return Contribution(event.request_id, event.kind, event.revision, sums, request.assigned, event.source)


def _logged(past: PastRequest) -> LoggedRequest:
    score = None if past.rating is None else past.rating.score
    lesson, revision = Lesson.of(past.entry.record), past.revision_by(Source.USER)
    return LoggedRequest(lesson, past.entry.vector, score, revision, past.assigned, past.evaluation)


def _add(past: PastRequest, done: Rebuilt) -> None:
    record = past.entry.record
    for contribution in past.ledger:
        _count(record.created_at, record.outcome.arm, contribution.sums, done)


def _count(created_at: float, arm: ArmId, contribution: Mapping[str, int], done: Rebuilt) -> None:
    for one, sums in by_arm(arm, contribution).items():
        done.days[one, utc_day(created_at)].update(sums)


async def _restore_imports(
    imports: Sequence[StoredImport],
    stores: RebuildStores,
    replay: KindReplay,
    done: Rebuilt,
    *,
    since: float,
    wipe: bool,
) -> None:
    assigned = [structs.replace(one, assigned=one.assigned or replay.assign(one)) for one in imports]
    learned = [structs.replace(one, revision=1, sums=import_sums(one.record, one.kind)) for one in assigned]
    for one in learned:
        _count(one.record.created_at, "", one.sums or {}, done)
    await stores.imports.restore(learned)
    await _index(_imported_points(learned, since=since), stores, done, wipe=wipe)
    done.imports += len(learned)


def _points(past: Sequence[PastRequest], *, since: float) -> PointsByModel:
    """Return the points of requests that were ever rated; of the others the restorer keeps the vector."""
    points: dict[EmbeddingModel, list[Point]] = defaultdict(list)
    for each in past:
        name, vector = each.entry.record.embedding_model, each.entry.vector
        if name is None or vector is None or not each.revision_by(Source.USER):
            continue
        model = EmbeddingModel(name, vector.shape[0])
        point = point_of(_logged(each), model, since=since)
        if point is not None:
            points[model].append(point)
    return points


def _imported_points(imports: Sequence[StoredImport], *, since: float) -> PointsByModel:
    points: dict[EmbeddingModel, list[Point]] = defaultdict(list)
    for one in imports:
        if one.vector is not None and one.record.created_at >= since:
            points[model_of(one)] += import_points(one.record, one.vector)
    return points


async def _index(points: PointsByModel, stores: RebuildStores, done: Rebuilt, *, wipe: bool) -> None:
    """Write the points of a page, each embedding model's into its own collection."""
    for model, some in points.items():
        await stores.index.prepare(model)
        if wipe and model not in done.models:
            await stores.index.delete_before(stores.clock.now() + 365 * DAY_S)
        done.models.add(model)
        await stores.index.upsert(some)
        done.points += len(some)
