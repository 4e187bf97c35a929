"""A command for a person: take out of the beliefs what one source has taught.

Each request keeps what it added to the sums (its ledger). Forgetting applies an empty contribution with a newer
revision, by the script that learned it: the old one is subtracted, and events that are still waiting come too late to
count. Points lose their label the usual way. Interrupted or repeated, it ends in the same state.

What is older than a request lives in Redis (the feedback window and a week) has no ledger any more, and stays.
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
"""There is no event behind it: what the script acknowledges is an entry that no stream has."""

_OUTCOME_REVISION = 2
"""An outcome is learned as revision 1, and never revised."""

_OWNER = re.compile(r"[0-9a-f]{16}|public")


@dataclass(frozen=True, slots=True)
class Source:
    """Whose requests: of one owner, one arm, since a time (Unix s); what is None or 0 does not narrow."""

    owner: str | None = None
    arm: str | None = None
    since: float = 0.0


@dataclass(slots=True)
class Forgotten:
    """What has been done so far: requests looked at, and contributions taken out of the beliefs."""

    requests: int = 0
    ratings: int = 0
    outcomes: int = 0


def owner_of(key: str) -> str:
    """Return the owner that `key` stands for: an API key, or already an owner's hash (or `public`)."""
    if _OWNER.fullmatch(key):
        return key
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]


async def forget(
    source: Source, log: RequestLog, posteriors: PosteriorStore, progress: Callable[[Forgotten], None]
) -> Forgotten:
    """Take out what `source` has taught; call `progress` after each batch. Raises DependencyError: run it again."""
    done = Forgotten()
    async for own_ids in log.ids_of(source.owner, since=source.since):
        loaded = await log.load(own_ids)
        requests = [one for one in loaded if one is not None and source.arm in (None, one.record.outcome.arm)]
        await _forget(requests, log, posteriors, done)
        progress(done)
    return done


async def _forget(requests: list[LoggedRequest], log: RequestLog, posteriors: PosteriorStore, done: Forgotten) -> None:
    revisions = await log.withdraw([request.record.id for request in requests])
    effects = [_nothing(request, EventKind.OUTCOME, _OUTCOME_REVISION) for request in requests]
    for request, revision in zip(requests, revisions, strict=True):
        if revision:
            effects.append(_nothing(request, EventKind.FEEDBACK, revision))
    answers = await posteriors.apply(effects)
    done.requests += len(requests)
    for effect, answer in zip(effects, answers, strict=True):
        if answer is Applied.APPLIED:
            done.ratings += effect.event.kind is EventKind.FEEDBACK
            done.outcomes += effect.event.kind is EventKind.OUTCOME


def _nothing(request: LoggedRequest, kind: EventKind, revision: int) -> Effect:
    record = request.record
    event = Event(NO_ENTRY, kind, record.id, revision)
    return Effect(event=event, arm=record.outcome.arm, created_at=record.created_at, sums={})
