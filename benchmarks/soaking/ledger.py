"""Account of a part of the load: what clients were told against what is recorded, learned and in the history."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import psycopg
import redis.asyncio as aioredis

from shared.bandit.sums import LABELS
from shared.storage import redis_keys
from shared.storage.ledger_codec import sums_of
from shared.storage.request_codec import parse_assignment

DRAIN_TIMEOUT_S = 75.0
"""Longer than the 30 s after which events of a dead learner are delivered again, and its restart."""
PAGE = 500

_HISTORY = (
    "SELECT public_id FROM requests JOIN outcomes ON request_id = id WHERE public_id LIKE %s",
    "SELECT public_id FROM requests JOIN feedback ON request_id = id WHERE public_id LIKE %s",
)


@dataclass
class Account:
    """Differences; all empty where each acknowledged answer and rating counts exactly once.

    `answers`, `ratings`: ids that were acknowledged and are not recorded or not learned. `history`: ids that the
    database lacks. `sums`: fields of the learned sums minus what the requests say that they have added: more is
    doubled, less is lost. `left`: what still waits, or is a dead letter.
    """

    answers: set[str] = field(default_factory=set)
    ratings: set[str] = field(default_factory=set)
    history: set[str] = field(default_factory=set)
    sums: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)

    @property
    def lost(self) -> int:
        """Number of acknowledged answers and ratings that are missing somewhere."""
        return len(self.answers) + len(self.ratings) + len(self.history)

    @property
    def doubled(self) -> int:
        """Number of ratings that count more than once."""
        return max(self.sums[LABELS], 0)

    @property
    def balanced(self) -> bool:
        """Whether there is no difference."""
        return not (self.answers or self.ratings or self.history or self.sums or self.left)

    def words(self) -> str:
        """Return the differences as a sentence."""
        ids = {"answers": self.answers, "ratings": self.ratings, "history": self.history}
        parts = [f"{name} lost: {sorted(lost)[:3]}" for name, lost in ids.items() if lost]
        parts += [f"sums differ from the ledgers: {dict(self.sums.most_common(3))}"] if self.sums else []
        return "; ".join(parts + ([f"left: {dict(self.left)}"] if self.left else []))


@dataclass
class Ledger:
    """Accounts of one load after the other, in Redis and in the history."""

    redis_url: str
    database_url: str
    _before: Counter[str] = field(default_factory=Counter)

    async def account(self, prefix: str, sent: int, answered: Collection[str], rated: Collection[str]) -> Account:
        """Wait until nothing is left to learn, then compare. Ids are `prefix`-0 to `prefix`-(sent - 1)."""
        ids = [f"{prefix}-{number}" for number in range(sent)]
        async with aioredis.Redis.from_url(self.redis_url) as client:
            left = await _drain(client)
            recorded, learned, ledgers = await _requests(client, ids)
            sums = await _sums(client)
        account = Account(set(answered) - recorded, set(rated) - learned, left=left)
        account.sums = sums.copy()
        account.sums.subtract(self._before)
        account.sums.subtract(ledgers)
        account.sums = Counter({name: number for name, number in account.sums.items() if number})
        self._before = sums
        account.history = await asyncio.to_thread(self._missing, f"{prefix}-%", set(answered), set(rated))
        return account

    def _missing(self, pattern: str, *wanted: set[str]) -> set[str]:
        with psycopg.connect(self.database_url) as database:
            there = [{row[0] for row in database.execute(query, (pattern,))} for query in _HISTORY]
        return set().union(*(ids - found for ids, found in zip(wanted, there, strict=True)))


async def _drain(client: aioredis.Redis) -> Counter[str]:
    """Wait until nothing waits; return the lengths of what is left after DRAIN_TIMEOUT_S, and of the dead letters."""
    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    while True:
        waiting = {key: await client.xlen(key) for key in (redis_keys.EVENTS, redis_keys.HISTORY)}
        if not any(waiting.values()) or time.monotonic() > deadline:
            return Counter({**waiting, redis_keys.DEAD: await client.xlen(redis_keys.DEAD)}) + Counter()
        await asyncio.sleep(0.2)


async def _requests(client: aioredis.Redis, ids: Sequence[str]) -> tuple[set[str], set[str], Counter[str]]:
    """Return the ids that are recorded as answered, those with a learned rating, and the sum of their ledgers."""
    recorded, learned, ledgers = set[str](), set[str](), Counter[str]()
    for start in range(0, len(ids), PAGE):
        page = ids[start : start + PAGE]
        own = await client.mget([redis_keys.alias(redis_keys.KEYLESS_OWNER, one) for one in page])
        pipeline = client.pipeline(transaction=False)
        for own_id in own:
            pipeline.hgetall(redis_keys.request((own_id or b"none").decode().rstrip("!")))
        for public_id, stored in zip(page, await pipeline.execute(), strict=True):
            if stored.get(b"status") == b"answered":
                recorded.add(public_id)
            assigned = parse_assignment(stored.get(b"kind"))
            for name, ledger in stored.items():
                if name.startswith(b"applied:") and not name.endswith(b":revision"):
                    fields = sums_of(ledger, None if assigned is None else assigned.kind) or {}
                    for key, value in fields.items():
                        ledgers[key.partition("|")[0]] += value  # of whichever arm
                    if fields.get(LABELS):
                        learned.add(public_id)
    return recorded, learned, ledgers


async def _sums(client: aioredis.Redis) -> Counter[str]:
    """Return all learned sums by field, over models and days."""
    total = Counter[str]()
    async for key in client.scan_iter(match=redis_keys.sums("*", "*").replace("|", "[|]"), count=PAGE):
        for name, value in (await client.hgetall(key)).items():  # type: ignore[misc]  # one type for sync and async
            total[name.decode()] += int(value)
    return total
