"""Fake and real `History` return the same: one walk of writes and reads, each returned value compared whole."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence

import pytest

from shared.bandit.sources import Source
from shared.ports import History
from shared.schemas.evaluation import Evaluation
from shared.schemas.events import EventKind
from shared.schemas.history import Contribution, PastAssignment, PastRating, PastRequest, Waiting
from shared.schemas.records import Status
from shared.schemas.storage import Assignment, NewRecord
from shared.settings import Settings
from shared.storage.postgres_history import PostgresHistory
from tests.support.evaluations import an_evaluation
from tests.support.fakes.history import FakeHistory
from tests.support.sample_records import a_new_record, own_id, without_vector
from tests.support.values import replace
from tests.support.whole_values import outcome

NOW = 1_795_000_000.123456
TEXTS = (None, "", "ünï 世界", "a\x00b", "half \ud800")
"""A rating's words; PostgreSQL takes neither NUL nor half a surrogate pair."""

Step = Callable[[History], Awaitable[object]]


class Walk:
    """Random steps over few requests, so that repetitions, revisions and late requests occur."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.entries = [self.entry(at) for at in range(6)]

    def entry(self, at: int) -> NewRecord:
        """Return a request of second `at`; two requests share a second."""
        made = NOW + at // 2
        facts: dict[str, object] = {"status": self.random.choice(list(Status)), "request_id": own_id(made)}
        entry = replace(a_new_record(made, **facts), prompt=self.random.choice((None, "why?")))
        tokens = self.random.choice((12, 12, 2**63))  # more than a bigint holds
        entry = replace(
            entry, record=replace(entry.record, outcome=replace(entry.record.outcome, prompt_tokens=tokens))
        )
        return self.random.choice((entry, without_vector(entry)))

    def own(self) -> str:
        return self.random.choice(self.entries).record.id

    def waiting(self) -> Waiting:
        """Return an entry of the outbox: a request, a rating or a contribution."""
        entry, own, revision = self.random.choice(self.entries), self.own(), self.random.choice((1, 2))
        score, rated_at = self.random.choice((0.0, 0.7, None)), NOW + self.random.randrange(9)
        kind = self.random.choice((EventKind.OUTCOME, EventKind.FEEDBACK, EventKind.EVALUATION))
        source = self.random.choice((Source.USER, Source.USER, Source.EVAL, Source.SESSION))
        of = source if kind is EventKind.FEEDBACK else Source.USER
        rating = PastRating(own, revision, score, self.random.choice(TEXTS), rated_at, source)
        if source is not Source.USER:
            rating = replace(rating, weight=rated_at / NOW / 3)
        sums = {"requests": self.random.randrange(1, 9), "failures|b/ü": 1}
        order = 1 + [each.record.id for each in self.entries].index(own)
        assigned = self.random.choice((None, Assignment((3, order % 2), order)))
        return self.random.choice(
            (
                Waiting("1-1", entry.record.id, request=entry),
                Waiting("1-2", own, rating=rating),
                Waiting("1-3", own, contribution=Contribution(own, kind, revision, sums, assigned, of)),
                Waiting("1-5", own, evaluation=self.evaluation()),
                Waiting("1-4", own),
            )
        )

    def evaluation(self) -> Evaluation:
        """Return one with costs that are known or not, with a verdict or without."""
        whole = an_evaluation(self.random.random(), self.random.choice((None, 0.0)))
        unknown = replace(whole, candidates=whole.candidates[:1], judge_cost_usd=None, error="judge_timeout")
        return self.random.choice((whole, unknown, replace(whole, candidates=())))

    def write(self) -> Step:
        entries = [self.waiting() for _ in range(self.random.choice((1, 3)))]
        return lambda history: history.write(entries)

    def read(self) -> Step:
        since, batch = NOW + self.random.choice((-9.0, 1.0, 1.5)), self.random.choice((1, 4))
        return lambda history: pages(history, since, batch)

    def assignments(self) -> Step:
        after, batch = self.random.randrange(5), self.random.choice((1, 4))
        return lambda history: assigned_pages(history, after, batch)

    def count(self) -> Step:
        since = NOW + self.random.choice((-9.0, 1.0, 1.5))
        return lambda history: history.count(since=since)

    def settings(self) -> Step:
        name = self.random.choice(("a", "b"))
        return lambda history: history.save_settings(name, {"COST_WEIGHT": 0.2, "LLM_MODELS": ["ü"]})

    STEPS = (write, write, write, read, assignments, count, settings)


async def pages(history: History, since: float, batch: int) -> Sequence[Sequence[PastRequest]]:
    return [page async for page in history.read(since=since, batch=batch)]


async def assigned_pages(history: History, after: int, batch: int) -> Sequence[Sequence[PastAssignment]]:
    return [page async for page in history.assignments(after=after, batch=batch)]


@pytest.mark.parametrize("seed", range(6))
async def test_fake_and_real_return_the_same_whole_values(database_url: str, seed: int) -> None:
    """Requests with vectors, prompts, revisions of ratings, contributions, assignments; and refused entries."""
    fake, real = FakeHistory(), PostgresHistory(Settings(DATABASE_URL=database_url))
    await real.prepare()
    try:
        walk, done = Walk(seed), list[str]()
        for _ in range(60):
            kind = walk.random.choice(walk.STEPS)
            done.append(kind.__name__)
            step = kind(walk)
            theirs = await outcome(step(fake))
            assert await outcome(step(real)) == theirs, done[-12:]
    finally:
        await real.close()
