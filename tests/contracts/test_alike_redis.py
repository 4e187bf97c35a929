"""Fakes and real ports on Redis return the same: one walk through all methods, each returned value compared whole."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from shared.bandit.sources import Source
from shared.clock import utc_day
from shared.errors import RouterError
from shared.schemas.events import Event, EventKind
from shared.schemas.history import Contribution, PastRating, PastRequest, Waiting
from shared.schemas.records import Status
from shared.schemas.storage import Assignment, Effect, LearnedLimit, NewRecord, Notice, RatingTerms
from shared.storage.kinds_codec import fields_of
from tests.support.kinds import some_kinds
from tests.support.redis_rig import Rig, fake_rig, redis_rig
from tests.support.sample_records import ARM, a_new_record, own_id
from tests.support.values import replace
from tests.support.whole_values import Ids, outcome

OUTBOX = 4
"""Bound of the outbox: few enough that entries are dropped."""

NAMES = ("a", "b", "c")
SOURCES = (Source.USER, Source.EVAL, Source.SESSION)


@dataclass
class Side:
    """The fakes or the real ports, with the events and outbox entries that they have handed out so far."""

    rig: Rig
    ids: Ids = field(default_factory=dict)
    events: list[Event] = field(default_factory=lambda: [Event("0-1", EventKind.OUTCOME, "unknown", 1)])
    waiting: list[Waiting] = field(default_factory=lambda: [Waiting("0-1", "unknown")])

    async def taken(self, returned: Awaitable[list[Event]]) -> list[Event]:
        """Return events, and keep them for later steps."""
        self.events += (events := await returned)
        return events

    async def read(self, limit: int) -> list[Waiting]:
        """Return outbox entries, and keep them for later steps."""
        self.waiting += (entries := await self.rig.outbox.read(limit))
        return entries

    async def applied(self, at: int, sums: dict[str, int], created_at: float) -> object:
        """Apply an event that was handed out, which acknowledges it."""
        return await self.rig.posteriors.apply([Effect(self.events[at], ARM, created_at, sums)])


Step = Callable[[Side], Awaitable[object]]


class Walk:
    """Random steps over few names, events and requests, so that they meet."""

    def __init__(self, seed: int, now: float) -> None:
        self.random = random.Random(seed)
        self.now = now
        self.own = [own_id(now) for _ in range(5)]
        self.kinds = [some_kinds(number) for number in (1, 2, 3)]
        self.seen = self.waited = 1
        """Events and outbox entries that both sides have handed out."""

    def record(self) -> Step:
        status = self.random.choice(list(Status))
        entry = a_new_record(self.now, request_id=self.random.choice(self.own), status=status)
        entry = replace(entry, prompt=self.random.choice((None, "why?")))
        return lambda side: side.rig.log.record([entry])

    def rate(self) -> Step:
        score, text = self.random.choice((0.0, 0.7)), self.random.choice((None, "", "fine"))
        known: Any = {"owner": None, "public_id": self.random.choice(self.own), "now": self.now, "score": score,
                      "text": text}  # fmt: skip
        if (source := self.random.choice(SOURCES)) is not Source.USER:
            known["terms"] = RatingTerms(source=source, weight=self.random.choice((1.0, 0.25)))
        return lambda side: side.rig.log.rate(**known)

    def withdraw(self) -> Step:
        own, sources = self.random.choice(self.own), self.random.choice((SOURCES, SOURCES[1:]))
        return lambda side: side.rig.log.withdraw([own], sources)

    def read(self) -> Step:
        consumer, limit = self.random.choice(NAMES), self.random.choice((1, 3))
        return lambda side: side.taken(side.rig.queue.read(consumer, limit))

    def claim(self) -> Step:
        consumer, idle_s, limit = self.random.choice(NAMES), self.random.choice((0.0, 0.0, 60.0)), 2
        return lambda side: side.taken(side.rig.queue.claim(consumer, idle_s=idle_s, limit=limit))

    def apply(self) -> Step:
        at, sums = self.random.randrange(self.seen), {"requests": self.random.randrange(1, 9)}
        return lambda side: side.applied(at, sums, self.now)

    def assign(self) -> Step:
        before, after = self.random.choice((None, *self.kinds)), self.random.choice(self.kinds)
        assigned = {self.random.choice(self.own): Assignment((1, 0), after.order)}
        return lambda side: side.rig.kinds.save(before, after, assigned)

    def assigned(self) -> Step:
        async def assigned(side: Side) -> object:
            kinds = await side.rig.kinds.load()
            requests = await side.rig.log.load(self.own)
            return kinds and fields_of(kinds), [request and request.assigned for request in requests]

        return assigned

    def bury(self) -> Step:
        at, reason = self.random.randrange(self.seen), self.random.choice(("damaged", "ünï"))
        return lambda side: side.rig.queue.bury(side.events[at], reason)

    def requeue(self) -> Step:
        limit = self.random.choice((1, 9))
        return lambda side: side.rig.queue.requeue(limit)

    def dead(self) -> Step:
        limit = self.random.choice((1, 9))

        async def dead(side: Side) -> object:
            letters = await side.rig.queue.dead(limit)
            return [replace(letter, event=replace(letter.event, entry_id="")) for letter in letters]

        return dead

    def forget_consumers(self) -> Step:
        idle_s = self.random.choice((0.0, 60.0))
        return lambda side: side.rig.queue.forget_consumers(idle_s)

    def depth(self) -> Step:
        return lambda side: side.rig.queue.depth()

    def prepare(self) -> Step:
        return lambda side: side.rig.queue.prepare()

    def wake(self) -> Step:
        return lambda side: side.rig.queue.wake()

    def outbox(self) -> Step:
        limit = self.random.choice((1, 4))
        return lambda side: side.read(limit)

    def done(self) -> Step:
        some = [self.random.randrange(self.waited) for _ in range(2)]
        return lambda side: side.rig.outbox.done([side.waiting[at] for at in some])

    def outbox_depth(self) -> Step:
        async def depth(side: Side) -> object:
            found = await side.rig.outbox.depth()
            return replace(found, size=0)  # fakes count no bytes

        return depth

    def beat(self) -> Step:
        worker, version = self.random.choice(NAMES), self.random.choice(("1.0", "1.1"))
        return lambda side: side.rig.heartbeats.beat(worker, version, 60.0)

    def alive(self) -> Step:
        return lambda side: side.rig.heartbeats.alive()

    def exchange(self) -> Step:
        gateway, limit = self.random.choice(NAMES), LearnedLimit("m/a", "context", 900.0, 8000)
        notice = Notice(
            {arm: self.random.choice((100.0, 300.0)) for arm in self.random.sample(("m/a", "m/ü"), 1)},
            behind=self.random.random() < 0.5,
            limits=self.random.choice(((), (limit,), (limit, replace(limit, feature="tools", tokens=0)))),
        )
        said = self.random.choice((None, notice, notice))
        return lambda side: side.rig.heartbeats.exchange(gateway, said, 60.0)

    def arms(self) -> Step:
        return lambda side: side.rig.arm_changes.read()

    def add_arm(self) -> Step:
        arm = self.random.choice(NAMES)
        return lambda side: side.rig.arm_changes.add(arm)

    def remove_arm(self) -> Step:
        arm, *others = self.random.sample(NAMES, self.random.choice((1, 2, 3)))
        return lambda side: side.rig.arm_changes.remove(arm, others)

    def free_arms(self) -> Step:
        return lambda side: side.rig.free_arms.read()

    def replace_free_arms(self) -> Step:
        before, after = (self.random.choice(((), ("a",), ("b", "a"))) for _ in range(2))
        return lambda side: side.rig.free_arms.replace(before, after)

    STEPS = (record, record, rate, rate, withdraw, read, read, claim, apply, apply, assign, assigned, bury, requeue,
             dead, forget_consumers, depth, prepare, wake, outbox, outbox, done, done, outbox_depth, beat, alive,
             exchange, exchange, arms, add_arm, remove_arm, free_arms, replace_free_arms)  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
async def test_queue_outbox_heartbeats_and_arm_lists(redis_server: str, seed: int) -> None:
    """Events with their deliveries, dead letters, depths, outbox entries with records and ratings, notices, arms."""
    fake = Side(fake_rig(OUTBOX))
    async with redis_rig(redis_server, OUTBOX) as rig:
        real, done = Side(rig), list[str]()
        walk = Walk(seed, rig.clock.now())
        for _ in range(200):
            kind = walk.random.choice(walk.STEPS)
            done.append(kind.__name__)
            step = kind(walk)
            theirs = await outcome(step(fake), fake.ids)
            ours = await outcome(step(real), real.ids)
            assert ours == theirs, done[-12:]
            walk.seen, walk.waited = len(fake.events), len(fake.waiting)


def past(now: float, chance: random.Random, own: str) -> PastRequest:
    """Return a request as the history has it: rated or not, learned from or not."""
    facts: Any = {"public_id": chance.choice(NAMES), "owner": chance.choice(NAMES), "request_id": own}
    entry: NewRecord = a_new_record(now, status=chance.choice(list(Status)), **facts)
    revisions = [PastRating(own, at, chance.choice((0.2, 0.9, None)), chance.choice((None, "ünï")), now + at)
                 for at in range(1, chance.choice((1, 2, 3)))]  # fmt: skip
    learned = [Contribution(own, EventKind.OUTCOME, 1, {"requests": 1}),
               Contribution(own, EventKind.FEEDBACK, 1, {"labels": 1, "score_micro": 200_000})]  # fmt: skip
    return PastRequest(entry, tuple(revisions), tuple(learned[: chance.choice((0, 1, 2))]))


@pytest.mark.parametrize("seed", range(6))
async def test_what_is_restored(redis_server: str, seed: int) -> None:
    """After the same requests and sums are restored: whole stored requests, what is learned from, and the sums."""
    fake, chance = fake_rig(), random.Random(seed)
    async with redis_rig(redis_server) as real:
        now = real.clock.now()
        own = [own_id(now + at) for at in range(6)]
        history = [past(now + at, chance, each) for at, each in enumerate(own)]
        days = {
            (arm, utc_day(now)): {"requests": chance.randrange(2, 9), "labels": 1, "score_micro": 300_000}
            for arm in (ARM, "b/c")
        }

        async def state(rig: Rig) -> object:
            found = [await returned(rig, owner, name) for owner in (None, *NAMES) for name in (*NAMES, *own)]
            return found, await rig.log.load(own), (await rig.posteriors.load()).arms, await rig.restorer.is_empty()

        async def restored(rig: Rig, *, cleared: bool) -> object:
            before = await rig.restorer.is_empty()
            for one in history:
                rig.archive.add(one.entry.record)
            await rig.restorer.requests(history)
            await rig.restorer.sums(days)
            if cleared:
                await rig.restorer.clear()
            return before

        for cleared in (False, True, False):
            for step in (lambda rig, cleared=cleared: restored(rig, cleared=cleared), state):
                theirs = await outcome(step(fake))
                assert await outcome(step(real)) == theirs


async def returned(rig: Rig, owner: str | None, name: str) -> object:
    """Return a stored request, or its error in words."""
    try:
        return await rig.log.find(owner=owner, public_id=name)
    except RouterError as error:
        return str(error)
