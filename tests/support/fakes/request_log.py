"""`RequestLog` in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from shared.bandit.sources import Source
from shared.bandit.sums import NANO
from shared.clock import utc_day
from shared.errors import DependencyError, Gone
from shared.schemas.events import EVENT_VERSION, FIRST_VERSION, Event, EventKind
from shared.schemas.history import PastRating, Waiting
from shared.schemas.ids import ambiguous, made_at
from shared.schemas.quota import Charge, Toll
from shared.schemas.records import Rating, RequestRecord, Status, StoredRequest
from shared.schemas.storage import (
    Claim,
    LastAnswer,
    LoggedRequest,
    NewRecord,
    RatingTerms,
    Reservation,
    Verdict,
)
from shared.storage.redis_record import STEPS_KEPT
from shared.storage.story_codec import packed, record_of
from tests.support.fakes.memory import Alias, Memory, Story
from tests.support.fakes.short_forms import counted_in_ledger, lesson_left, short


class FakeRequestLog:
    """The contract, without Redis."""

    def __init__(
        self,
        memory: Memory | None = None,
        *,
        window_s: float = 7 * 86_400.0,
        story_s: float | None = None,
        history_bound: int = 0,
    ) -> None:
        self.memory = memory or Memory()
        self._window_s = window_s
        self._story_s = window_s if story_s is None else story_s
        self._history_bound = history_bound

    async def reserve(self, *, owner: str, public_id: str, own_id: str, charge: Charge | None = None) -> Claim:
        self._here()
        held = self.memory.aliases.get((owner, public_id))
        if held is not None and held.name != own_id and not held.failed:
            return Claim(Reservation.TAKEN)
        if held is None and self._is_anothers_own(public_id, own_id):
            return Claim(Reservation.TAKEN)
        quota = None
        if charge is not None:
            quota = self.memory.quotas.look(owner, charge, paid=held is not None and held.name == own_id)
            if quota.refused is not None:
                return Claim(Reservation.REFUSED, quota)
        self.memory.aliases[owner, public_id] = Alias(own_id, self.memory.clock.now())
        return Claim(Reservation.NEW, quota)

    async def release(self, *, owner: str, public_id: str, own_id: str, charge: Charge | None = None) -> None:
        self._here()
        held = self.memory.aliases.get((owner, public_id))
        recorded = own_id in self.memory.stories and self.memory.stories[own_id].record is not None
        if held is not None and held.name == own_id and not recorded:
            del self.memory.aliases[owner, public_id]
            if charge is not None:
                self.memory.quotas.give_back(owner, charge)

    async def record(self, entries: Sequence[NewRecord]) -> None:
        self._here()
        for entry in entries:
            self.memory.recorded += 1
            self._record(entry)

    def _record(self, entry: NewRecord) -> None:
        record, story = entry.record, self.memory.stories[entry.record.id]
        if story.record is not None:
            return
        story.record, story.vector = record, entry.vector
        held = self.memory.aliases.get((record.owner, record.public_id))
        free = held is None and not self._is_anothers_own(record.public_id, record.id)
        if free or (held is not None and held.own_id == record.id):
            failed = record.outcome.status is Status.FAILED
            self.memory.aliases[record.owner, record.public_id] = Alias(record.id, record.created_at, failed)
            if record.public_id == record.id and not failed:
                del self.memory.aliases[record.owner, record.public_id]
        self.memory.owners.add(record.owner)
        if record.toll is not None:
            self._settle(record, record.toll)
        if record.outcome.status is not Status.FAILED:
            for session in (*filter(None, (record.session,)), *entry.calls):
                self.memory.sessions[record.owner, session] = (entry.last_answer, self.memory.clock.now())
        if record.session and record.rateable:
            steps = self.memory.steps[record.owner, record.session]
            steps[:] = [*steps, record.id][-STEPS_KEPT:]
        self.memory.explored[utc_day(record.created_at)] += round(record.explored_usd * NANO)
        self.memory.remember(self._history_bound, Waiting("", record.id, request=entry))
        self.memory.add(Event("", EventKind.OUTCOME, record.id, 1))
        for rating in story.ratings.values():
            if rating.score is not None:
                self.memory.add(_event_of(rating))

    def _settle(self, record: RequestRecord, toll: Toll) -> None:
        outcome = record.outcome
        used = outcome.prompt_tokens + outcome.completion_tokens
        tokens = None if toll.tokens is None else used - toll.tokens
        self.memory.quotas.settle(record.owner, toll.day, tokens, round(outcome.spent_usd * NANO) - toll.nano_usd)

    async def find(self, *, owner: str | None, public_id: str) -> StoredRequest | None:
        self._here()
        own_id, _ = self._resolve(owner, public_id)
        story = self.memory.stories.get(own_id)
        if story is None or story.record is None or owner not in (None, story.record.owner):
            return None
        record = story.record
        if story.indexed and not story.kept and not self._history_bound:
            if self._expired(own_id):
                raise Gone("Only what a rating needs is still kept of this request.", code="record_expired")
            record = record_of(packed(record), own_id)
        scores = {
            source: Rating(each.score, each.revision, each.text, each.rated_at, each.weight)
            for source, each in story.ratings.items()
            if each.score is not None
        }
        applied = {source: story.applied(source) for source in Source}
        assigned = story.assigned or counted_in_ledger(story)
        evaluated = story.ledger.get(EventKind.EVALUATION, (0, {}))[0] == 1
        return StoredRequest(
            record=record,
            rating=scores.pop(Source.USER, None),
            outcome_applied=EventKind.OUTCOME in story.ledger,
            rating_applied=applied.pop(Source.USER),
            evaluation=story.evaluation,
            evaluation_applied=evaluated,
            scores=scores,
            scores_applied=applied,
            kind=None if assigned is None else assigned.kind,
        )

    async def rate(
        self,
        *,
        owner: str | None,
        public_id: str,
        score: float,
        text: str | None,
        now: float,
        terms: RatingTerms | None = None,
    ) -> Verdict:
        self._here()
        terms = terms or RatingTerms()
        if not terms.by_link:
            self._resolve(owner, public_id)
        minute = (terms.rater, int(now // 60))
        if terms.per_minute and self.memory.rated[minute] >= terms.per_minute:
            return Verdict.LIMITED
        verdict = self._judge(owner, (public_id, score, text), now, terms)
        if terms.per_minute:
            self.memory.rated[minute] += verdict is not Verdict.UNKNOWN
        return verdict

    def _judge(
        self, owner: str | None, rating: tuple[str, float, str | None], now: float, terms: RatingTerms
    ) -> Verdict:
        said = (*rating, terms.source)
        name = (terms.rater, terms.idempotency_key or "")
        if terms.idempotency_key is not None and name in self.memory.answers:
            before, verdict = self.memory.answers[name]
            return verdict if before == said else Verdict.KEY_REUSED
        verdict = self._rate(owner, rating, now, terms)
        if terms.idempotency_key is not None and verdict in (Verdict.ACCEPTED, Verdict.REVISED, Verdict.DUPLICATE):
            self.memory.answers[name] = (said, verdict)
        return verdict

    def _rate(
        self, owner: str | None, rating: tuple[str, float, str | None], now: float, terms: RatingTerms
    ) -> Verdict:
        public_id, score, text = rating
        by_link, source = terms.by_link, terms.source
        linked = (public_id, Alias(public_id, made_at(public_id))) if by_link else None
        own_id, alias = linked or self._resolve(owner, public_id)
        record = self.memory.stories[own_id].record if own_id in self.memory.stories else None
        if (record is None and alias is None) or (record is not None and owner not in (None, record.owner)):
            return Verdict.UNKNOWN
        if record is not None and not record.rateable:
            return Verdict.NOT_RATEABLE
        since = record.created_at if record is not None else alias.reserved_at if alias is not None else now
        if now - since > self._window_s:
            return Verdict.EXPIRED
        story = self.memory.stories[own_id]
        if by_link and story.link_used:
            return Verdict.LINK_USED
        story.link_used |= by_link
        before = story.ratings.get(source)
        if before is not None and (before.score, before.text, before.weight) == (score, text, terms.weight):
            return Verdict.DUPLICATE
        first = story.score(source) is None
        self._remember(story, PastRating(own_id, story.revision(source) + 1, score, text, now, source, terms.weight))
        self.memory.add(_event_of(story.ratings[source]))
        return Verdict.ACCEPTED if first else Verdict.REVISED

    async def last_answer(self, *, owner: str, session: str) -> LastAnswer | None:
        self._here()
        last, at = self.memory.sessions.get((owner, session), (None, 0.0))
        return last if self.memory.clock.now() - at < 86_400 else None

    async def session_steps(self, *, owner: str, session: str) -> list[str]:
        self._here()
        since = self.memory.clock.now() - self._window_s
        return [own_id for own_id in self.memory.steps[owner, session] if made_at(own_id) >= since]

    async def explored_usd(self, now: float) -> float:
        self._here()
        return self.memory.explored[utc_day(now)] / NANO

    async def ids_of(self, owner: str | None, *, since: float) -> AsyncIterator[list[str]]:
        self._here()
        for own_id, story in list(self.memory.stories.items()):
            record = story.record
            if record is not None and owner in (None, record.owner) and record.created_at >= since:
                yield [own_id]

    async def withdraw(self, own_ids: Sequence[str], sources: Sequence[Source]) -> list[Mapping[Source, int]]:
        self._here()
        return [self._withdraw(own_id, self.memory.stories[own_id], sources) for own_id in own_ids]

    def _withdraw(self, own_id: str, story: Story, sources: Sequence[Source]) -> Mapping[Source, int]:
        for source in sources:
            if story.score(source) is not None:
                revision, now = story.revision(source) + 1, self.memory.clock.now()
                self._remember(story, PastRating(own_id, revision, None, None, now, source))
        return {one: at for one in sources if (at := story.revision(one)) > story.applied(one)}

    def _remember(self, story: Story, rating: PastRating) -> None:
        story.ratings[rating.source] = rating
        self.memory.remember(self._history_bound, Waiting("", rating.request_id, rating=rating))

    async def load(self, own_ids: Sequence[str]) -> list[LoggedRequest | None]:
        self._here()
        return [self._load(own_id) for own_id in own_ids]

    def _load(self, own_id: str) -> LoggedRequest | None:
        story = self.memory.stories.get(own_id)
        if story is None or story.record is None:
            return None
        assigned = story.assigned or counted_in_ledger(story)
        counted = story.ledger.get(EventKind.OUTCOME, (0, None))[1]
        lesson = lesson_left(story.record, packed_already=story.indexed, archived=story.kept)
        facts = (story.vector, story.score(), story.revision(), assigned, story.evaluation, counted)
        return LoggedRequest(lesson, *facts)

    async def pending_index(self, limit: int) -> dict[str, int]:
        self._here()
        stories = self.memory.stories
        due = list(self.memory.unindexed)[:limit]
        return {own_id: stories[own_id].revision() if own_id in stories else 0 for own_id in due}

    async def indexed(self, marks: Mapping[str, int]) -> list[str]:
        self._here()
        anew = []
        for own_id, revision in marks.items():
            story = self.memory.stories.get(own_id)
            if story is not None and story.revision() != revision:
                anew.append(own_id)
                self.memory.unindexed.setdefault(own_id)
            else:
                self.memory.unindexed.pop(own_id, None)
                if story is not None and (story.kept or not self._history_bound):
                    story.indexed = True
                    story.vector = None if revision else short(story.vector)
        return anew

    def _expired(self, own_id: str) -> bool:
        """Whether a packed story is gone."""
        return self.memory.clock.now() - made_at(own_id) >= self._story_s

    def _is_anothers_own(self, public_id: str, own_id: str) -> bool:
        return public_id != own_id and public_id in self.memory.stories

    def _resolve(self, owner: str | None, public_id: str) -> tuple[str, Alias | None]:
        if owner is None and public_id in self.memory.stories:
            return public_id, None
        owners = [owner] if owner is not None else [*sorted(self.memory.owners - {"public"}), "public"]
        names = [(name, public_id) for name in owners]
        found = {alias.own_id: alias for name in names if (alias := self.memory.aliases.get(name)) is not None}
        if len(found) > 1:
            raise ambiguous(list(found))
        return next(iter(found.items()), (public_id, None))

    def _here(self) -> None:
        if self.memory.away:
            raise DependencyError("redis", "away")


def _event_of(rating: PastRating) -> Event:
    version = FIRST_VERSION if rating.source is Source.USER else EVENT_VERSION
    facts = (version, 1, rating.score, rating.source, rating.weight)
    return Event("", EventKind.FEEDBACK, rating.request_id, rating.revision, *facts)
