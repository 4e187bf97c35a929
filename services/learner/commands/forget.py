"""Command `forget`: removes from the learned sums what some requests, or the scores of one source, have contributed.

Each request keeps what it added to the sums (its ledger). Forgetting applies an empty contribution, or one without the
scores of the source, with a newer revision through the script that applied the old one: that one is subtracted, and
events still in the queue are outdated. Points lose their label in the usual way. The command is idempotent and may be
interrupted.

Contributions of requests that Redis no longer keeps (after the feedback window and a week) have no ledger, and stay.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.learner.learning.effects import effect_of
from shared.bandit.learning import without_source
from shared.bandit.sources import Source
from shared.errors import CorruptState
from shared.ports import PosteriorStore, RequestLog
from shared.schemas.events import FORGOTTEN_REVISION, NO_ENTRY, WITHOUT_SOURCE_REVISION, Event, EventKind
from shared.schemas.storage import Applied, Effect, LoggedRequest

_OWNER = re.compile(r"[0-9a-f]{16}|public")


@dataclass(frozen=True, slots=True)
class Selection:
    """Filter of requests by owner, arm and time (Unix s); None or 0 matches all.

    With `source` only its scores are forgotten; else everything that the requests have contributed.
    """

    owner: str | None = None
    arm: str | None = None
    since: float = 0.0
    source: Source | None = None


@dataclass(slots=True)
class Forgotten:
    """Counts so far: requests looked at; ratings removed from the sums, outcomes and evaluations removed or revised."""

    requests: int = 0
    ratings: int = 0
    outcomes: int = 0
    evaluations: int = 0


def owner_of(key: str) -> str:
    """Return the owner's hash of an API key; a hash, or `public`, is returned as it is."""
    if _OWNER.fullmatch(key):
        return key
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]


async def forget(
    selection: Selection, log: RequestLog, posteriors: PosteriorStore, progress: Callable[[Forgotten], None]
) -> Forgotten:
    """Remove the selected contributions; call `progress` after each batch. After DependencyError, run it again."""
    done = Forgotten()
    async for own_ids in log.ids_of(selection.owner, since=selection.since):
        loaded = await log.load(own_ids)
        requests = [one for one in loaded if one is not None and selection.arm in (None, one.record.outcome.arm)]
        effects = await _withdrawn(requests, selection.source, log)
        effects += [effect for request in requests for effect in _revised(request, selection.source)]
        for effect, answer in zip(effects, await posteriors.apply(effects), strict=True):
            if answer is Applied.APPLIED:
                _count(effect.event.kind, done)
        done.requests += len(requests)
        progress(done)
    return done


async def _withdrawn(requests: Sequence[LoggedRequest], source: Source | None, log: RequestLog) -> list[Effect]:
    """Withdraw ratings; return the effects that remove them from the sums."""
    sources = tuple(Source) if source is None else (source,)
    revisions = await log.withdraw([request.record.id for request in requests], sources)
    return [
        _effect(request, Event(NO_ENTRY, EventKind.FEEDBACK, request.record.id, revision, source=by), {})
        for request, removed in zip(requests, revisions, strict=True)
        for by, revision in removed.items()
    ]


def _revised(request: LoggedRequest, source: Source | None) -> Iterator[Effect]:
    """Yield the effects that leave of outcome and evaluation nothing, or all but the scores of `source`."""
    for kind in (EventKind.OUTCOME, EventKind.EVALUATION)[: 1 if request.evaluation is None else 2]:
        if source is None:
            yield _effect(request, Event(NO_ENTRY, kind, request.record.id, FORGOTTEN_REVISION), {})
            continue
        event = Event(NO_ENTRY, kind, request.record.id, WITHOUT_SOURCE_REVISION)
        sums = _contribution(event, request)
        left = without_source(sums, source)
        if len(left) < len(sums):
            yield _effect(request, event, left)


def _contribution(event: Event, request: LoggedRequest) -> Mapping[str, int]:
    """Return what an event has added to the sums, or will add; nothing where it cannot be learned."""
    if event.kind is EventKind.OUTCOME and request.counted is not None:
        return request.counted  # the story that it was computed from may be gone
    try:
        return effect_of(event, request).sums
    except (CorruptState, ValueError, OverflowError):
        return {}


def _effect(request: LoggedRequest, event: Event, sums: Mapping[str, int]) -> Effect:
    record = request.record
    return Effect(event=event, arm=record.outcome.arm, created_at=record.created_at, sums=sums)


def _count(kind: EventKind, done: Forgotten) -> None:
    done.ratings += kind is EventKind.FEEDBACK
    done.outcomes += kind is EventKind.OUTCOME
    done.evaluations += kind is EventKind.EVALUATION
