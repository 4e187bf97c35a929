"""The checker's view of Redis: what has been summed, and what the requests say has been applied."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from redis import Redis

from shared.bandit.assigner import Assigner
from shared.bandit.kinds import no_kinds
from shared.bandit.traits import assign
from shared.schemas.storage import counted_kind
from shared.storage import redis_keys
from shared.storage.kinds_codec import fields_of, parse_kinds
from shared.storage.ledger_codec import sums_of
from shared.storage.request_codec import parse_assignment
from shared.storage.story_codec import lesson_of
from tests.support.values import replace


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
            fields = client.hgetall(key)
            assigned = parse_assignment(fields.get(b"kind"))
            for stored, ledger in fields.items():
                if stored.startswith(b"applied:") and not stored.endswith(b":revision"):
                    sums = sums_of(ledger, None if assigned is None else assigned.kind)
                    assert sums is not None, f"{key} has a ledger that cannot be read"
                    for name, value in sums.items():
                        total[name.partition("|")[0]] += value  # of whichever arm
    return Counter({name: value for name, value in total.items() if value})


def assert_assigned_once(url: str) -> None:
    """Check that each request with a vector has one place in one order, of which the kinds are made."""
    places: dict[int, tuple[str, tuple[int, int], bytes, tuple[str, ...]]] = {}
    client: Any
    with Redis.from_url(url) as client:
        kinds = parse_kinds(client.hgetall(redis_keys.KINDS))
        for key in client.scan_iter(redis_keys.request("*"), count=1000):
            own_id = key.decode().removeprefix(redis_keys.request(""))
            kind, applied = client.hmget(key, "kind", "applied:outcome")
            vector, story = client.mget(redis_keys.vector(own_id), redis_keys.story(own_id))
            assigned = parse_assignment(kind)
            if vector is None:
                continue
            assert assigned is not None, f"{own_id} has no kind"
            assert assigned.order not in places, f"{own_id} and {places[assigned.order][0]} have one place"
            places[assigned.order] = own_id, assigned.kind, vector, lesson_of(story, own_id).traits
            counted = counted_kind(sums_of(applied, assigned.kind) or ())
            assert counted in (None, assigned.kind), f"{own_id} was counted in another kind"
    assert sorted(places) == list(range(kinds.order - len(places) + 1, kinds.order + 1))
    start = no_kinds(kinds.dimension, generation=kinds.generation, model=kinds.model)
    straight = Assigner(replace(start, order=kinds.order - len(places)))
    for _, (own_id, kind, vector, traits) in sorted(places.items()):
        again = assign(straight, np.frombuffer(vector, dtype="<f4").astype(np.float32), traits, own_id)
        assert (kinds.generation, again) == kind
    assert fields_of(straight.kinds) == fields_of(kinds)
    assert kinds.counts.sum() == len(places)
