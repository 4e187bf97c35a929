"""Command `forget`: removes from the learned sums what one source has contributed.

Each request keeps what it added to the sums (its ledger). Forgetting applies an empty contribution with a newer
revision through the script that applied the old one: that one is subtracted, and events still in the queue are
outdated. Points lose their label in the usual way. The command is idempotent and may be interrupted.

Contributions of requests that Redis no longer keeps (after the feedback window and a week) have no ledger, and stay.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from shared.ports import PosteriorStore, RequestLog
from shared.schemas.events import Event, EventKind
from shared.schemas.storage import Applied, Effect, LoggedRequest

NO_ENTRY = "0-1"
"""Entry id for effects without an event: no stream has it, so the script acknowledges nothing."""

_OUTCOME_REVISION = 2
"""An outcome is applied as revision 1 and never revised."""

_OWNER = re.compile(r"[0-9a-f]{16}|public")


@dataclass(frozen=True, slots=True)
class Source:
    """Filter of requests by owner, arm and time (Unix s); None or 0 matches all."""

    owner: str | None = None
    arm: str | None = None
    since: float = 0.0


@dataclass(slots=True)
class Forgotten:
    """Counts so far: requests looked at, and ratings and outcomes removed from the sums."""

    requests: int = 0
    ratings: int = 0
    outcomes: int = 0


def owner_of(key: str) -> str:
    """Return the owner's hash of an API key; a hash, or `public`, is returned as it is."""
    if _OWNER.fullmatch(key):
        return key
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]


async def forget(
    source: Source, log: RequestLog, posteriors: PosteriorStore, progress: Callable[[Forgotten], None]
) -> Forgotten:
    """Remove the contributions of `source`; call `progress` after each batch. After DependencyError, run it again."""
    done = Forgotten()
    async for own_ids in log.ids_of(source.owner, since=source.since):
        loaded = await log.load(own_ids)
        requests = [one for one in loaded if one is not None and source.arm in (None, one.record.outcome.arm)]
        await _forget(requests, log, posteriors, done)
        progress(done)
    return done


async def _forget(requests: list[LoggedRequest], log: RequestLog, posteriors: PosteriorStore, done: Forgotten) -> None:
    revisions = await log.withdraw([request.record.id for request in requests])
    effects = [_empty_effect(request, EventKind.OUTCOME, _OUTCOME_REVISION) for request in requests]
    for request, revision in zip(requests, revisions, strict=True):
        if revision:
            effects.append(_empty_effect(request, EventKind.FEEDBACK, revision))
    answers = await posteriors.apply(effects)
    done.requests += len(requests)
    for effect, answer in zip(effects, answers, strict=True):
        if answer is Applied.APPLIED:
            done.ratings += effect.event.kind is EventKind.FEEDBACK
            done.outcomes += effect.event.kind is EventKind.OUTCOME


def _empty_effect(request: LoggedRequest, kind: EventKind, revision: int) -> Effect:
    record = request.record
    event = Event(NO_ENTRY, kind, record.id, revision)
    return Effect(event=event, arm=record.outcome.arm, created_at=record.created_at, sums={})
