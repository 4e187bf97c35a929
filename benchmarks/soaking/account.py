"""Check of the records in Redis: every request is recorded, and no failure could have been avoided."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

import redis.asyncio as aioredis

from services.gateway.chat.fallback import MAX_SPENT
from shared.schemas.records import RequestRecord
from shared.storage import redis_keys
from shared.storage.story_codec import record_of

_PAGE = 1000


@dataclass
class Records:
    """`recorded`: requests in Redis; `needless`: ids of failures although another arm was left to try."""

    recorded: int = 0
    attempts: Counter[int] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    needless: list[str] = field(default_factory=list)


async def read_records(redis_url: str, failed: Collection[str], arms: int) -> Records:
    """Read every record. `failed`: public ids with a 5xx; `arms`: number of models that can answer."""
    records, failures = Records(), set(failed)
    async with aioredis.Redis.from_url(redis_url) as client:
        keys = [key.decode() async for key in client.scan_iter(match=redis_keys.story("*"), count=_PAGE)]
        for start in range(0, len(keys), _PAGE):
            some = keys[start : start + _PAGE]
            for key, story in zip(some, await client.mget(some), strict=True):
                if story is not None:
                    record = record_of(story, key.removeprefix(redis_keys.story("")))
                    _count(records, record, failures, arms)
            await asyncio.sleep(0)
    records.needless += failures  # without a record
    return records


def _count(records: Records, record: RequestRecord, failures: set[str], arms: int) -> None:
    public_id, attempts = record.public_id, record.outcome.attempts
    records.recorded += 1
    records.statuses[record.outcome.status.value] += 1
    records.attempts[len(attempts)] += 1
    if public_id not in failures:
        return
    failures.discard(public_id)
    if sum(attempt.spent for attempt in attempts) >= MAX_SPENT:
        records.reasons["two calls may have been billed, so no third was made"] += 1
    elif len({attempt.arm for attempt in attempts}) >= arms:
        records.reasons["all models were called and failed"] += 1
    else:
        records.needless.append(public_id)
