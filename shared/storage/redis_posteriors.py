"""`PosteriorStore` on Redis: one hash of integer sums per arm and day, each contribution applied exactly once."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from shared.bandit.arms import ArmId
from shared.bandit.sums import ArmSums, Centroids, IntSums, LearnedState, parse_sums, weighted_sums
from shared.clock import utc_day
from shared.errors import CorruptState
from shared.ports import Clock
from shared.schemas.history import NO_HISTORY, OutboxBound
from shared.schemas.storage import Applied, Effect
from shared.storage import redis_keys
from shared.storage.redis_connection import Client, Damaged, KeptConnection, Script, answers_of, redis_errors

FAINTEST = 1 / 256
"""A day with less weight is neither read nor kept."""


class RedisPosteriorStore:
    """`PosteriorStore` on hashes.

    It caches what it has read: `load` costs one round trip, and one more if something has changed. An instance serves
    one reader at a time.
    """

    def __init__(
        self, client: Client, *, recency_days: float, clock: Clock, history_bound: OutboxBound = NO_HISTORY
    ) -> None:
        """Take the half-life of evidence, and how much may wait for the history."""
        self._client: Any = client  # redis-py says "awaitable or value" of every command
        self._outbox = (redis_keys.HISTORY if history_bound.entries else "", str(history_bound))
        self._recency_days = recency_days
        self._clock = clock
        self._apply = Script(client, "outbox.lua", "ledger.lua", "apply.lua", kept=KeptConnection(client))
        self._replace_centroids = Script(client, "centroids.lua")
        self._read: dict[bytes, tuple[bytes, IntSums]] = {}
        self._centroids: tuple[bytes, Centroids] | None = None

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
            redis_keys.request(event.request_id),
            redis_keys.VERSIONS,
            redis_keys.UNINDEXED,
            redis_keys.EVENTS,
            redis_keys.CENTROIDS,
            redis_keys.MISCOUNTED,
        ]
        ledger = json.dumps(dict(effect.sums), separators=(",", ":"))  # of any size: the script judges
        arguments: list[str | bytes | int | float] = [
            event.kind.value,
            event.revision,
            redis_keys.GROUP,
            event.entry_id,
        ]
        arguments += [event.request_id, str(round(now * 1000)), ledger, effect.arm, day, redis_keys.SUMS]
        arguments += self._outbox
        return keys, arguments

    async def load(self) -> LearnedState:
        """Return the recency-weighted sums of all arms; CorruptState if any hash is damaged."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hgetall(redis_keys.VERSIONS)
        pipeline.hget(redis_keys.CENTROIDS, "epoch")
        versions, epoch = await answers_of(pipeline)
        if isinstance(versions, Damaged) or isinstance(epoch, Damaged):
            raise CorruptState("versions or centroids are not a hash")
        today = datetime.fromtimestamp(self._clock.now(), UTC).date()
        weights = {member: self._weight(member, today) for member in versions}
        live = {member: version for member, version in versions.items() if weights[member] >= FAINTEST}
        await self._refresh(live, epoch)
        days: dict[ArmId, list[tuple[float, IntSums]]] = defaultdict(list)
        for member in live:
            days[_split(member)[0]].append((weights[member], self._read[member][1]))
        arms: dict[ArmId, ArmSums] = {arm: weighted_sums(parts) for arm, parts in days.items()}
        centroids = None if self._centroids is None else self._centroids[1]
        return LearnedState(version=_digest(live, epoch, today), arms=arms, centroids=centroids)

    async def save_centroids(self, centroids: Centroids) -> bool:
        """Replace the cluster centres by those of a later epoch."""
        rows, dimension = centroids.centres.shape
        data = np.ascontiguousarray(centroids.centres, dtype="<f4").tobytes()
        arguments: list[str | bytes | int | float] = [centroids.epoch, "rows", rows, "dimension", dimension]
        arguments += ["data", data, "model", centroids.model, "requests", centroids.requests]
        return bool(await self._replace_centroids.call([redis_keys.CENTROIDS], arguments))

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

    async def _refresh(self, live: Mapping[bytes, bytes], epoch: bytes | None) -> None:
        """Read what has changed. Valid parts are kept if another one is damaged."""
        changed = [m for m, version in live.items() if m not in self._read or self._read[m][0] != version]
        stale_centroids = epoch is not None and (self._centroids is None or self._centroids[0] != epoch)
        for member in self._read.keys() - live.keys():
            del self._read[member]
        if epoch is None:
            self._centroids = None
        if not changed and not stale_centroids:
            return
        pipeline = self._client.pipeline(transaction=False)
        for member in changed:
            arm, day = _split(member)
            pipeline.hgetall(redis_keys.sums(arm, day.isoformat()))
        if stale_centroids:
            pipeline.hgetall(redis_keys.CENTROIDS)
        answers = await answers_of(pipeline)
        for member, fields in zip(changed, answers, strict=False):
            self._read[member] = (live[member], _parse(member, fields))
        if stale_centroids:
            if isinstance(answers[-1], Damaged):
                raise CorruptState("centroids are not a hash")
            self._centroids = answers[-1].get(b"epoch"), parse_centroids(answers[-1])


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


def parse_centroids(fields: Mapping[bytes, bytes]) -> Centroids:
    """Read the stored hash. Raises CorruptState."""
    try:
        shape = int(fields[b"rows"]), int(fields[b"dimension"])
        if min(shape) < 1:
            raise CorruptState("centroids have no rows or no dimension")
        centres = np.frombuffer(fields[b"data"], dtype="<f4").reshape(shape).astype(np.float32, copy=False)
        model, requests = fields.get(b"model", b"").decode("utf-8", "replace"), int(fields.get(b"requests", 0))
        centroids = Centroids(int(fields[b"epoch"]), centres, model, requests)
    except (KeyError, ValueError) as error:
        raise CorruptState(f"centroids: {type(error).__name__}") from error
    if not np.isfinite(centres).all():
        raise CorruptState("centroids are not finite")
    return centroids


def _digest(live: Mapping[bytes, bytes], epoch: bytes | None, today: date) -> str:
    """Return a version of the state: equal for all readers, different when sums, centres or day weights change."""
    if not live and epoch is None:
        return "0"
    text = b";".join(member + b"=" + live[member] for member in sorted(live))
    return hashlib.blake2b(text + b"|%d|%s" % (today.toordinal(), epoch or b""), digest_size=8).hexdigest()


__all__ = ["FAINTEST", "RedisPosteriorStore", "parse_centroids"]
