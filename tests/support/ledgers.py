"""The checker's view of Redis: what has been summed, and what the requests say has been applied."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
from redis import Redis

from shared.storage import redis_keys


def sums_in(url: str) -> Counter[str]:
    """All integer sums, over arms and days; zeros left out."""
    total = Counter[str]()
    client: Any
    with Redis.from_url(url) as client:
        for key in client.scan_iter(redis_keys.sums("*", "*").replace("|", "[|]"), count=1000):
            for name, value in client.hgetall(key).items():
                total[name.decode()] += int(value)
    return Counter({name: value for name, value in total.items() if value})


def ledgers_in(url: str) -> Counter[str]:
    """The sum of the ledgers of all requests. Equal to `sums_in`, or something was lost or doubled."""
    total = Counter[str]()
    client: Any
    with Redis.from_url(url) as client:
        for key in client.scan_iter(redis_keys.request("*"), count=1000):
            for ledger in client.hmget(key, "applied:outcome", "applied:feedback"):
                for name, value in orjson.loads(ledger or b"{}").items():
                    total[name.partition("|")[0]] += value  # of whichever arm
    return Counter({name: value for name, value in total.items() if value})
