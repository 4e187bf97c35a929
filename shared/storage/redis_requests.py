"""`RequestLog` on Redis: requests, ratings, reservations, and the events for the learner."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from shared.bandit.sources import Source
from shared.bandit.sums import NANO
from shared.clock import utc_day
from shared.errors import DependencyError, Gone
from shared.ports import Clock
from shared.record_archive import RecordArchive
from shared.resilience.coalescer import PIPELINED, Coalescer
from shared.schemas.events import source_suffix
from shared.schemas.history import NO_HISTORY, OutboxBound
from shared.schemas.ids import made_at, may_be_own_id
from shared.schemas.quota import Charge, Limit, Quota
from shared.schemas.records import RequestRecord, StoredRequest
from shared.schemas.storage import Claim, LastAnswer, LoggedRequest, NewRecord, RatingTerms, Reservation, Verdict
from shared.schemas.traffic import DEFAULT_BOUNDS, TrafficBounds
from shared.storage import redis_keys
from shared.storage.redis_connection import (
    RECORDS_AT_ONCE,
    Call,
    Client,
    Damaged,
    KeptConnection,
    Script,
    answers_of,
    redis_errors,
    texts_of,
)
from shared.storage.redis_ids import Meant, find_own_id
from shared.storage.redis_record import RecordCall, traffic_place
from shared.storage.request_codec import LOGGED, logged, short_forms, stored, stored_record

GRACE_S = 7 * 86_400.0
"""Lifetime of a request after its feedback window: longer than any backlog of events."""

RESERVATIONS = 1024
"""Most reservations of one write; Redis takes about 2 ms for so many."""

SCAN = 500
"""Keys of one step through all requests."""

_KEYS = (redis_keys.request, redis_keys.story, redis_keys.vector)


class RedisRequestLog:
    """`RequestLog` by one hash a request and scripts that touch it together with the stream of events."""

    def __init__(
        self,
        client: Client,
        *,
        window_s: float,
        clock: Clock,
        story_s: float | None = None,
        history_bound: OutboxBound = NO_HISTORY,
        archive: RecordArchive | None = None,
        traffic: TrafficBounds = DEFAULT_BOUNDS,
        count: Callable[[RequestRecord], None] | None = None,
    ) -> None:
        """Take the feedback window, the time of stories (as long by default), and bounds of the outbox and the traffic.

        `archive` has the records that Redis no longer keeps, where there is a history. `count` is called for new ones.
        """
        self._client: Any = client  # redis-py says "awaitable or value" of every command
        self._outbox = (redis_keys.HISTORY if history_bound.entries else "", str(history_bound))
        self._archive = archive
        self._window_s = window_s
        self._story_s = window_s if story_s is None else story_s
        self._ttl_ms = round((window_s + GRACE_S) * 1000)
        self._clock = clock
        self._reserve_script = Script(client, "reserve.lua", kept=KeptConnection(client, at_once=RECORDS_AT_ONCE))
        self._reserve = Coalescer("redis", self._reserve_many, most=RESERVATIONS, pace=PIPELINED)
        self._release = Script(client, "release.lua")
        records = KeptConnection(client, at_once=RECORDS_AT_ONCE)
        self._count = count
        self._traffic = traffic_place(traffic)
        self._record_call = RecordCall(self._ttl_ms, self._outbox, traffic)
        self._record = Script(client, "outbox.lua", "announce.lua", "traffic.lua", "record.lua", kept=records)
        self._rate = Script(client, "outbox.lua", "announce.lua", "traffic.lua", "rate.lua")
        self._kept = KeptConnection(client)
        self._indexed = Script(client, "indexed.lua", kept=self._kept)
        self._withdraw = Script(client, "outbox.lua", "stored_ledger.lua", "withdraw.lua")

    async def reserve(self, *, owner: str, public_id: str, own_id: str, charge: Charge | None = None) -> Claim:
        """Reserve a public id, and take the charge."""
        keys = [redis_keys.alias(owner, public_id)]
        arguments: list[str | int] = [own_id, self._ttl_ms]
        if charge is not None:
            limits = charge.limits
            keys += [redis_keys.rate(owner), redis_keys.spent(owner, charge.day)]
            arguments += [limits.requests, limits.tokens, limits.nano_usd, charge.tokens, charge.nano_usd]
        keys += redis_keys.namesake_keys(public_id, own_id)
        what, *left = texts_of(await self._reserve.submit((keys, arguments)))
        refused = None if what in set(Reservation) else Limit(what)
        quota = None
        if charge is not None and left:
            quota = Quota(charge.limits, float(left[0]), float(left[1]), int(left[2]), refused)
        return Claim(Reservation(what) if refused is None else Reservation.REFUSED, quota)

    async def _reserve_many(self, calls: Sequence[Call], _within_s: float) -> list[list[bytes] | DependencyError]:
        damaged = DependencyError("redis", "a stored value is damaged")
        answers = await self._reserve_script.call_many(calls)
        return [damaged if isinstance(answer, Damaged) else answer for answer in answers]

    async def release(self, *, owner: str, public_id: str, own_id: str, charge: Charge | None = None) -> None:
        """Free a public id, and give the charge back."""
        keys = [redis_keys.alias(owner, public_id), redis_keys.request(own_id)]
        if charge is not None:
            keys += [redis_keys.rate(owner), redis_keys.spent(owner, charge.day)]
        amounts = (charge.tokens, charge.nano_usd, charge.requests) if charge is not None else (0, 0, 0)
        await self._release.call(keys, [own_id, *amounts])

    async def record(self, entries: Sequence[NewRecord]) -> None:
        """Store records and their events, in few round trips, each request atomically."""
        if entries:
            answers = await self._record.call_many([self._record_call(entry) for entry in entries])
            for entry, answer in zip(entries, answers, strict=True):
                if answer == 1 and self._count is not None:
                    self._count(entry.record)
            if any(isinstance(answer, Damaged) for answer in answers):
                raise DependencyError("redis", "a stored value is damaged")

    async def find(self, *, owner: str | None, public_id: str) -> StoredRequest | None:
        """Return the request that `owner` knows by `public_id`, or by its own id."""
        own_id, _ = await find_own_id(self._client, owner, public_id)
        with redis_errors():
            # The owner first: denying a foreign request must not take longer than denying an unknown one.
            holder = await self._client.hget(redis_keys.request(own_id), "owner")
            if holder is None or owner not in (None, holder.decode()):
                return None
            raw = await self._client.hgetall(redis_keys.request(own_id))
            story = await self._client.get(redis_keys.story(own_id))
        fields = {name.decode(): value for name, value in raw.items()}
        try:
            record = stored_record(own_id, fields, story)
        except ValueError as error:
            raise DependencyError("redis", "a stored record cannot be read") from error
        if record is None and self._archive is not None:
            record = (await self._archive.records([own_id])).get(own_id)
        if record is None:
            raise Gone("Only what a rating needs is still kept of this request.", code="record_expired")
        return stored(record, fields)

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
        """Store the rating and its event."""
        terms = terms or RatingTerms()
        # A lone surrogate is legal in JSON but not in UTF-8.
        words = (text or "").encode("utf-8", "surrogatepass")
        fingerprint = "" if terms.idempotency_key is None else _fingerprint(public_id, score, text, words, terms.source)
        # The id of a link is our own and signed: a public id of another request must not match it.
        meant = Meant(public_id, () if owner is None else (redis_keys.alias(owner, public_id),))
        if owner is None and not terms.by_link:
            meant = await find_own_id(self._client, None, public_id)
        arguments: list[str | bytes | int | float] = [
            meant.own_id,
            owner or "",
            repr(float(score)),
            words,
            "0" if text is None else "1",
            repr(now),
            repr(self._window_s),
            self._ttl_ms,
            source_suffix(terms.source),
            redis_keys.request(""),
            terms.per_minute,
            fingerprint,
            "1" if terms.by_link else "0",
            *self._outbox,
            repr(terms.weight),
            *self._traffic,
        ]
        keys = [
            redis_keys.EVENTS,
            redis_keys.feedback_rate(terms.rater, int(now // 60)),
            redis_keys.idempotency(terms.rater, terms.idempotency_key or ""),
            *meant.aliases,
        ]
        verdict, *_ = texts_of([await self._rate.call(keys, arguments)])
        return Verdict(verdict)

    async def last_answer(self, *, owner: str, session: str) -> LastAnswer | None:
        """Return the last answer in that conversation."""
        with redis_errors():
            text = await self._client.get(redis_keys.session(owner, session))
            return None if text is None else LastAnswer.from_text(text.decode())

    async def session_steps(self, *, owner: str, session: str) -> list[str]:
        """Return own ids of the steps that can be rated."""
        with redis_errors():
            steps = await self._client.lrange(redis_keys.session_steps(owner, session), 0, -1)
        since = self._clock.now() - self._window_s
        return [own_id for own_id in map(bytes.decode, steps) if made_at(own_id) >= since]

    async def explored_usd(self, now: float) -> float:
        """Return what that day's exploring has cost."""
        with redis_errors():
            spent = await self._client.get(redis_keys.explored(utc_day(now)))
            return 0.0 if spent is None else int(spent) / NANO

    async def ids_of(self, owner: str | None, *, since: float) -> AsyncIterator[list[str]]:
        """Yield own ids; looks at every request there is."""
        cursor = 0
        while True:
            with redis_errors():
                cursor, keys = await self._client.scan(cursor, match=redis_keys.request("*"), count=SCAN)
            pipeline = self._client.pipeline(transaction=False)
            for key in keys:
                pipeline.hmget(key, "owner", "created_at")
            rows = await answers_of(pipeline) if keys else []
            found = [
                key.decode().removeprefix(redis_keys.request(""))
                for key, row in zip(keys, rows, strict=True)
                # Without a time it was never recorded: nothing of it can have been learned.
                if not isinstance(row, Damaged) and row[1] and owner in (None, (row[0] or b"").decode())
                and float(row[1]) >= since
            ]  # fmt: skip
            if found:
                yield found
            if cursor == 0:
                return

    async def withdraw(self, own_ids: Sequence[str], sources: Sequence[Source]) -> list[Mapping[Source, int]]:
        """Take ratings back."""
        if not own_ids or not sources:
            return [{} for _ in own_ids]
        some = [repr(self._clock.now()), *self._outbox, *map(source_suffix, sources)]
        answers = await self._withdraw.call_many(
            [([redis_keys.request(own_id)], [own_id, *some]) for own_id in own_ids]
        )
        return [
            {} if isinstance(answer, Damaged) else {one: at for one, at in zip(sources, answer, strict=True) if at}
            for answer in answers
        ]

    async def load(self, own_ids: Sequence[str]) -> list[LoggedRequest | None]:
        """Return what the learner needs; None, too, where a record cannot be read."""
        asked: list[tuple[str, ...]] = []
        for own_id in own_ids:
            asked.append(("HMGET", redis_keys.request(own_id), *LOGGED))
            asked.append(("MGET", redis_keys.story(own_id), redis_keys.vector(own_id)))
        rows = await self._kept.run(asked) if asked else []
        return [logged(own_id, row, *keys) for own_id, row, keys in zip(own_ids, rows[::2], rows[1::2], strict=True)]

    async def pending_index(self, limit: int) -> dict[str, int]:
        """Return own ids that are due, oldest first, with the revisions of their ratings; 0 for an unreadable one."""
        with redis_errors():
            members = await self._client.zrange(redis_keys.UNINDEXED, 0, limit - 1) if limit > 0 else []
        own_ids = [member.decode() for member in members]
        found = await self._kept.run([("HGET", redis_keys.request(own_id), "revision") for own_id in own_ids])
        return {
            own_id: int(revision) if isinstance(revision, bytes) and revision.isdigit() else 0
            for own_id, revision in zip(own_ids, found, strict=True)
        }

    async def indexed(self, marks: Mapping[str, int]) -> list[str]:
        """Remove ids from the due ones; return those rated again meanwhile, which stay due."""
        if not marks:
            return []
        short = await self._short_forms(list(marks))
        now, kept = self._clock.now(), "1" if self._outbox[0] else "0"
        calls: list[Call] = []
        for own_id, revision in marks.items():
            made = made_at(own_id) if may_be_own_id(own_id) else now
            left_ms = round((made + self._story_s - now) * 1000)
            keys = [redis_keys.UNINDEXED, *(of(own_id) for of in _KEYS)]
            calls.append((keys, [own_id, revision, repr(now), *short[own_id], left_ms, kept]))
        answers = await self._indexed.call_many(calls)
        return [own_id for own_id, anew in zip(marks, answers, strict=True) if anew == 1]

    async def _short_forms(self, own_ids: Sequence[str]) -> Mapping[str, tuple[bytes, bytes]]:
        """Return story and vector of requests in their short forms; b"" for one that is not there."""
        stories = [] if self._outbox[0] else list(map(redis_keys.story, own_ids))  # with a history they go
        with redis_errors():
            found = await self._client.mget([*stories, *map(redis_keys.vector, own_ids)])
        vectors = found[len(stories) :]
        whole = zip(found[: len(stories)] or [None] * len(vectors), vectors, strict=True)
        return await asyncio.to_thread(short_forms, dict(zip(own_ids, whole, strict=True)))  # 0.1 ms each


def _fingerprint(public_id: str, score: float, text: str | None, words: bytes, source: Source) -> str:
    said = f"{public_id}|{float(score)!r}|{text is not None}|{source_suffix(source)[1:]}".encode() + words
    return hashlib.sha256(said).hexdigest()
