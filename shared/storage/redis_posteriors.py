"""`PosteriorStore` on Redis: one hash of integer sums per arm and day, each contribution applied exactly once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from shared.bandit.arms import ArmId
from shared.bandit.kinds import Kinds
from shared.bandit.stored_sums import WeightedDays, parse_sums
from shared.bandit.sums import ArmSums, IntSums, LearnedState
from shared.clock import utc_day
from shared.errors import CorruptState
from shared.ports import Clock
from shared.schemas.history import NO_HISTORY, OutboxBound
from shared.schemas.storage import Applied, Effect, counted_kind
from shared.storage import redis_keys
from shared.storage.kinds_codec import parse_kinds
from shared.storage.ledger_codec import packed_ledger
from shared.storage.redis_connection import Client, Damaged, KeptConnection, Script, answers_of, redis_errors

FAINTEST = 1 / 256
"""A day with less weight is neither read nor kept."""


_Place = tuple[bytes | None, ...]
"""Generation, order and mark of stored kinds, as read; None for none."""


_HASHES_AT_ONCE = 32


class _DayRead(NamedTuple):
    """The hash of one arm and day, its version when it was read, and its weight today."""

    version: bytes
    weight: float
    sums: IntSums


class RedisPosteriorStore:
    """`PosteriorStore` on hashes.

    It caches what it has read: `load` costs one round trip, and one more if something has changed. An instance serves
    one reader at a time.
    """

    def __init__(
        self,
        client: Client,
        *,
        recency_days: float,
        clock: Clock,
        history_bound: OutboxBound = NO_HISTORY,
        key_of: Callable[[str], str] = redis_keys.request,
    ) -> None:
        """Take the half-life of evidence, how much may wait for the history, and the hash of what is learned from."""
        self._client: Any = client  # redis-py says "awaitable or value" of every command
        self._outbox = (redis_keys.HISTORY if history_bound.entries else "", str(history_bound))
        self._key_of = key_of
        self._recency_days = recency_days
        self._clock = clock
        parts = "outbox.lua", "stored_ledger.lua", "ledger.lua", "apply.lua"
        self._apply = Script(client, *parts, kept=KeptConnection(client))
        self._read: dict[bytes, tuple[bytes, IntSums]] = {}
        self._arms: dict[ArmId, _ArmDays] = {}
        self._adding = threading.Lock()
        self._kinds: Kinds | None = None
        self._kinds_at: _Place = (None, None, None)

    async def apply(self, effects: Sequence[Effect]) -> list[Applied]:
        """Apply contributions and acknowledge their events, in few round trips, each atomically."""
        if not effects:
            return []
        now = self._clock.now()
        answers = await self._apply.call_many([self._apply_call(effect, now) for effect in effects])
        return [Applied.REFUSED if isinstance(answer, Damaged) else Applied(answer.decode()) for answer in answers]

    def _apply_call(self, effect: Effect, now: float) -> tuple[list[str], list[str | bytes | int | float]]:
        event, day = effect.event, utc_day(effect.created_at)
        keys = [
            self._key_of(event.request_id),
            redis_keys.VERSIONS,
            redis_keys.UNINDEXED,
            redis_keys.EVENTS,
        ]
        ledger = json.dumps(dict(effect.sums), separators=(",", ":"))  # of any size: the script judges
        arguments: list[str | bytes | int | float] = [
            event.ledger,
            event.revision,
            redis_keys.GROUP,
            event.entry_id,
        ]
        arguments += [event.request_id, str(round(now * 1000)), ledger, effect.arm, day, redis_keys.SUMS]
        kind = counted_kind(effect.sums)
        packed = packed_ledger(event.revision, effect.sums, kind)
        arguments += [*self._outbox, packed, "" if kind is None else f"{kind[0]}.{kind[1]}"]
        return keys, arguments

    async def load(self) -> LearnedState:
        """Return the recency-weighted sums of all arms and the kinds of prompt; CorruptState if any hash is damaged."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hgetall(redis_keys.VERSIONS)
        pipeline.hmget(redis_keys.KINDS, "generation", "order", "mark")
        versions, kinds_at = await answers_of(pipeline)
        if isinstance(versions, Damaged) or isinstance(kinds_at, Damaged):
            raise CorruptState("versions or kinds are not a hash")
        today = datetime.fromtimestamp(self._clock.now(), UTC).date()
        weights = {member: self._weight(member, today) for member in versions}
        live = {member: version for member, version in versions.items() if weights[member] >= FAINTEST}
        await self._refresh(live, tuple(kinds_at))
        # A day has thousands of fields: in the event loop this would hold up every open stream.
        days: dict[ArmId, dict[bytes, _DayRead]] = defaultdict(dict)
        for member, version in live.items():
            days[_split(member)[0]][member] = _DayRead(version, weights[member], self._read[member][1])
        arms = await asyncio.to_thread(self._add_up, days)
        return LearnedState(_digest(live, tuple(kinds_at), today), arms, self._kinds)

    def _add_up(self, days: Mapping[ArmId, Mapping[bytes, _DayRead]]) -> dict[ArmId, ArmSums]:
        """Return the sums by arm, of which only days that have changed are counted again."""
        with self._adding:  # a reader that gave up leaves its thread behind
            for arm in self._arms.keys() - days.keys():
                del self._arms[arm]
            return {arm: self._arms.setdefault(arm, _ArmDays()).updated(read) for arm, read in days.items()}

    async def forget_before(self, created_at: float) -> int:
        """Drop the hashes of days that ended before then."""
        end = datetime.fromtimestamp(created_at, UTC).date()
        with redis_errors():
            members = await self._client.hkeys(redis_keys.VERSIONS)
            old = [(member, arm, day) for member in members for arm, day in [_split(member)] if day < end]
            if old:
                pipeline = self._client.pipeline(transaction=True)
                pipeline.delete(*(redis_keys.sums(arm, day.isoformat()) for _, arm, day in old))
                pipeline.hdel(redis_keys.VERSIONS, *(member for member, _, _ in old))
                await pipeline.execute()
        return len(old)

    def _weight(self, member: bytes, today: date) -> float:
        age_days = (today - _split(member)[1]) / timedelta(days=1)
        # A gateway's clock may be ahead: days in the future have the weight of today.
        return float(0.5 ** (max(age_days, 0.0) / self._recency_days))

    async def _refresh(self, live: Mapping[bytes, bytes], kinds_at: _Place) -> None:
        """Read what has changed. Valid parts are kept if another one is damaged."""
        changed = [m for m, version in live.items() if m not in self._read or self._read[m][0] != version]
        for member in self._read.keys() - live.keys():
            del self._read[member]
        stale = kinds_at != self._kinds_at
        # In parts, which stay if the caller gives up: the first read of a long history takes longer than one may wait.
        for start in range(0, len(changed), _HASHES_AT_ONCE):
            some = changed[start : start + _HASHES_AT_ONCE]
            pipeline = self._client.pipeline(transaction=False)
            for member in some:
                arm, day = _split(member)
                pipeline.hgetall(redis_keys.sums(arm, day.isoformat()))
            answers = await answers_of(pipeline)
            parsed, error = await asyncio.to_thread(_parsed, [(member, live[member]) for member in some], answers)
            self._read |= parsed
            if error is not None:
                raise error
        if stale:
            pipeline = self._client.pipeline(transaction=False)
            pipeline.hgetall(redis_keys.KINDS)
            (kinds,) = await answers_of(pipeline)
            if isinstance(kinds, Damaged):
                raise CorruptState("kinds are not a hash")
            self._kinds = await asyncio.to_thread(parse_kinds, kinds) if kinds else None
            self._kinds_at = kinds_at


class _ArmDays:
    """Sums of one arm over its days."""

    def __init__(self) -> None:
        self._days = WeightedDays()
        self._known: dict[bytes, tuple[bytes, float]] = {}
        self._sums = ArmSums()

    def updated(self, days: Mapping[bytes, _DayRead]) -> ArmSums:
        """Return the sums of these days."""
        gone = self._known.keys() - days.keys()
        changed = [member for member, day in days.items() if self._known.get(member) != (day.version, day.weight)]
        for member in gone:
            self._days.remove(member)
            del self._known[member]
        for member in changed:
            day = days[member]
            self._days.replace(member, day.weight, day.sums)
            self._known[member] = day.version, day.weight
        if gone or changed:
            self._sums = self._days.sums
        return self._sums


def _parsed(
    changed: Sequence[tuple[bytes, bytes]], answers: Sequence[Any]
) -> tuple[dict[bytes, tuple[bytes, IntSums]], CorruptState | None]:
    """Parse hashes; return those that are sound, and what is wrong with another one."""
    read: dict[bytes, tuple[bytes, IntSums]] = {}
    error = None
    for (member, version), fields in zip(changed, answers, strict=True):
        try:
            read[member] = version, _parse(member, fields)
        except CorruptState as wrong:
            error = wrong
    return read, error


def _split(member: bytes) -> tuple[ArmId, date]:
    arm, _, day = member.decode("utf-8", "replace").rpartition("|")
    try:
        return arm, date.fromisoformat(day)
    except ValueError as error:
        raise CorruptState(f"{redis_keys.VERSIONS} has a field without a day") from error


def _parse(member: bytes, fields: Mapping[bytes | str, bytes | str] | Damaged) -> IntSums:
    if isinstance(fields, Damaged):
        raise CorruptState(f"sums of {member.decode('utf-8', 'replace')}: not a hash")
    try:
        return parse_sums(fields)
    except CorruptState as error:
        raise CorruptState(f"sums of {member.decode('utf-8', 'replace')}: {error}") from error


def _digest(live: Mapping[bytes, bytes], kinds_at: _Place, today: date) -> str:
    """Return a version of the state: equal for all readers, different when sums, kinds or day weights change."""
    if not live and kinds_at[0] is None:
        return "0"
    text = b";".join(member + b"=" + live[member] for member in sorted(live))
    place = b".".join(part or b"" for part in kinds_at)
    return hashlib.blake2b(text + b"|%d|%s" % (today.toordinal(), place), digest_size=8).hexdigest()


__all__ = ["FAINTEST", "RedisPosteriorStore"]
