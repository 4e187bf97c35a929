"""Fake and real `RequestLog` return the same: one walk through all methods, each returned value compared whole."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest

from shared.bandit.sources import Source
from shared.clock import utc_day
from shared.schemas.events import Event, EventKind
from shared.schemas.quota import Charge, Limits, Toll
from shared.schemas.records import RequestRecord, Status
from shared.schemas.storage import Effect, NewRecord, RatingTerms
from tests.support.redis_rig import Rig, fake_rig, redis_rig
from tests.support.sample_records import ARM, a_new_record, own_id
from tests.support.values import replace
from tests.support.whole_values import outcome, plain

NANO = 1_000_000_000
LIMITS = Limits(requests=6, tokens=600, nano_usd=NANO)
OWNERS, NAMES = ("a", "b", "public"), ("x", "y", "z")

Step = Callable[[Rig], Awaitable[object]]


class Walk:
    """Random steps over few owners, ids and requests, so that they meet."""

    def __init__(self, seed: int, now: float) -> None:
        self.random = random.Random(seed)
        self.now = now
        self.own = [own_id(now) for _ in range(6)]
        self.entries: dict[str, NewRecord] = {}

    def step(self) -> tuple[str, Step]:
        """Return a step and what to call it."""
        kinds = (self.reserve, self.reserve, self.release, self.record, self.record, self.rate, self.rate, self.rate,
                 self.find, self.find, self.session, self.spent, self.ids, self.withdraw, self.load, self.index,
                 self.learn)  # fmt: skip
        return self.random.choice(kinds)()

    def name(self) -> str:
        return self.random.choice((*NAMES, *NAMES, *self.own))

    def owner(self) -> str:
        return self.random.choice(OWNERS)

    def charge(self) -> Charge | None:
        tokens, usd = self.random.choice(((100, 0.1), (2000, 0.4), (0, 0.0)))
        return self.random.choice((None, Charge(LIMITS, tokens, round(usd * NANO), utc_day(self.now))))

    def reserve(self) -> tuple[str, Step]:
        known = {"owner": self.owner(), "public_id": self.name(), "own_id": self.random.choice(self.own),
                 "charge": self.charge()}  # fmt: skip
        return f"reserve {known}", lambda rig: rig.log.reserve(**known)

    def release(self) -> tuple[str, Step]:
        known = {"owner": self.owner(), "public_id": self.name(), "own_id": self.random.choice(self.own)}
        return f"release {known}", lambda rig: rig.log.release(**known)

    def record(self) -> tuple[str, Step]:
        own = self.random.choice(self.own)
        entry = self.entries.get(own) or self._entry(own)
        self.entries[own] = entry
        return f"record {own}", lambda rig: rig.log.record([entry])

    def _entry(self, own: str) -> NewRecord:
        facts = {"owner": self.owner(), "public_id": self.name(), "status": self.random.choice(list(Status))}
        entry = a_new_record(self.now, request_id=own, cost_usd=0.25, **facts)
        toll = self.random.choice((None, Toll(utc_day(self.now), 100, NANO // 10), Toll(utc_day(self.now), None, 0)))
        record = replace(entry.record, toll=toll, session=self.random.choice((None, "s", "t")))
        return replace(entry, record=record, calls=self.random.choice(((), ("call",))))

    def rate(self) -> tuple[str, Step]:
        terms = RatingTerms(
            rater=self.owner(),
            source=self.random.choice((Source.USER, Source.USER, Source.EVAL)),
            per_minute=self.random.choice((0, 5)),
            idempotency_key=self.random.choice((None, None, "k")),
        )
        known = {"owner": self.random.choice((None, *OWNERS)), "public_id": self.name(),
                 "score": self.random.choice((0.0, 0.7)), "text": self.random.choice((None, "", "fine")),
                 "now": self.now, "terms": terms}  # fmt: skip
        return f"rate {known}", lambda rig: rig.log.rate(**known)

    def find(self) -> tuple[str, Step]:
        owner, name = self.random.choice((None, *OWNERS)), self.name()
        return f"find {owner} {name}", lambda rig: rig.log.find(owner=owner, public_id=name)

    def session(self) -> tuple[str, Step]:
        owner, name = self.owner(), self.random.choice(("s", "t", "call"))
        return f"session {owner} {name}", lambda rig: rig.log.last_answer(owner=owner, session=name)

    def spent(self) -> tuple[str, Step]:
        return "explored", lambda rig: rig.log.explored_usd(self.now)

    def ids(self) -> tuple[str, Step]:
        owner = self.random.choice((None, *OWNERS))

        async def ids(rig: Rig) -> object:
            return sorted([each async for batch in rig.log.ids_of(owner, since=0.0) for each in batch])

        return f"ids of {owner}", ids

    def withdraw(self) -> tuple[str, Step]:
        some = self.random.sample(sorted(self.entries), min(2, len(self.entries)))
        return f"withdraw {some}", lambda rig: rig.log.withdraw(some, list(Source))

    def load(self) -> tuple[str, Step]:
        some = self.random.sample(self.own, 2)
        return f"load {some}", lambda rig: rig.log.load(some)

    def index(self) -> tuple[str, Step]:
        marks = {own: self.random.choice((0, 1, 2)) for own in self.random.sample(self.own, 2)}

        async def index(rig: Rig) -> object:
            due = await rig.log.pending_index(100)
            return due, await rig.log.indexed({own: mark for own, mark in marks.items() if own in due})

        return f"index {marks}", index

    def learn(self) -> tuple[str, Step]:
        sums = {"requests": self.random.randrange(1, 9), "cost": self.random.randrange(10**9)}
        own, revision = self.random.choice(self.own), self.random.choice((1, 2))
        event = Event("0-1", self.random.choice((EventKind.OUTCOME, EventKind.FEEDBACK)), own, revision)
        created_at = self.now

        async def learn(rig: Rig) -> object:
            applied = await rig.posteriors.apply([Effect(event, ARM, created_at, sums)])
            return applied, (await rig.posteriors.load()).arms

        return f"learn {event} {sums}", learn


async def events(rig: Rig) -> object:
    """Return what the learner would read."""
    return [replace(event, entry_id="") for event in await rig.queue.read("reader", 10_000)]


@pytest.mark.parametrize("seed", range(8))
async def test_fake_and_real_return_the_same_whole_values(redis_server: str, seed: int) -> None:
    """Claims with their quotas, verdicts, stored requests, what is learned, and the events that all of it leaves."""
    fake = fake_rig()
    async with redis_rig(redis_server) as real:
        walk, done = Walk(seed, fake.clock.now()), list[str]()
        assert real.clock.now() == fake.clock.now()
        for _ in range(120):
            name, step = walk.step()
            done.append(name)
            theirs = await outcome(step(fake))
            ours = await outcome(step(real))
            assert ours == theirs, "\n".join(done[-12:])
        theirs = await outcome(events(fake))
        assert await outcome(events(real)) == theirs


def test_a_value_is_compared_with_all_of_its_fields() -> None:
    """A field that is added later is compared, too."""
    record = a_new_record(0.0, request_id="a").record
    fields = plain(record)
    assert set(fields) == set(RequestRecord.__struct_fields__)
    assert plain(replace(record, session="other")) != fields
