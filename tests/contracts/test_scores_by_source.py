"""Contract of scores by source, and of evaluations in the request log, on the fakes and on Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.bandit.sources import Source
from shared.schemas.events import EVENT_VERSION, FIRST_VERSION, FORGOTTEN_REVISION, Event, EventKind
from shared.schemas.history import PastRating
from shared.schemas.records import Rating, Status
from shared.schemas.storage import Effect, RatingTerms, Verdict
from shared.storage import redis_keys
from shared.storage.redis_record import STEPS_KEPT
from shared.storage.redis_requests import GRACE_S
from tests.support.evaluations import an_evaluation, evaluate
from tests.support.redis_rig import WINDOW_S, Rig, fake_rig, redis_rig
from tests.support.sample_records import ARM, a_new_record
from tests.support.values import replace

BOUND = 100


@pytest.fixture(params=["fake", "redis"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    if request.param == "fake":
        yield fake_rig(BOUND)
        return
    async with redis_rig(request.getfixturevalue("redis_server"), BOUND) as real:
        yield real


async def rate(rig: Rig, public_id: str, score: float, source: Source, weight: float = 1.0, **terms: object) -> Verdict:
    facts = RatingTerms(source=source, weight=weight, **terms)  # type: ignore[arg-type]  # the terms are its own
    return await rig.log.rate(
        owner="public", public_id=public_id, score=score, text=None, now=rig.clock.now(), terms=facts
    )


async def recorded(rig: Rig) -> str:
    entry = a_new_record(rig.clock.now())
    await rig.log.record([entry])
    return entry.record.id


async def ratings_read(rig: Rig) -> list[Event]:
    return [event for event in await rig.queue.read("test", 100) if event.kind is EventKind.FEEDBACK]


def said(events: list[Event]) -> set[tuple[Source, int, float | None, float]]:
    return {(event.source, event.revision, event.score, event.weight) for event in events}


async def test_each_source_has_one_rating_and_the_last_counts(rig: Rig) -> None:
    """What one says does not revise what another one has said."""
    own = await recorded(rig)
    assert await rate(rig, own, 0.5, Source.USER) is Verdict.ACCEPTED
    assert await rate(rig, own, 0.5, Source.EVAL) is Verdict.ACCEPTED
    assert await rate(rig, own, 0.5, Source.EVAL) is Verdict.DUPLICATE
    assert await rate(rig, own, 0.5, Source.EVAL, 0.25) is Verdict.REVISED
    assert await rate(rig, own, 0.5, Source.EVAL, 0.25) is Verdict.DUPLICATE
    assert await rate(rig, own, 0.75, Source.SESSION, 1 / 3) is Verdict.ACCEPTED
    found = await rig.log.find(owner="public", public_id=own)
    assert found is not None
    now = rig.clock.now()
    assert found.rating == Rating(0.5, 1, None, now)
    assert found.scores[Source.EVAL] == Rating(0.5, 2, None, now, 0.25)
    assert found.scores[Source.SESSION] == Rating(0.75, 1, None, now, 1 / 3)
    (loaded,) = await rig.log.load([own])
    assert loaded is not None
    assert (loaded.score, loaded.revision) == (0.5, 1)


async def test_events_say_their_source_and_older_learners_leave_them(rig: Rig) -> None:
    """Those of users are as they have always been."""
    own = await recorded(rig)
    for source, weight in ((Source.USER, 1.0), (Source.EVAL, 0.25)):
        await rate(rig, own, 0.5, source, weight)
    users, others = await ratings_read(rig)
    assert (users.version, users.source, users.weight) == (FIRST_VERSION, Source.USER, 1.0)
    assert (others.version, others.source, others.weight) == (EVENT_VERSION, Source.EVAL, 0.25)
    assert (others.score, others.revision, others.ledger) == (0.5, 1, "feedback:eval")
    if rig.raw is not None:
        rows = [fields for _, fields in await rig.raw.xrange(redis_keys.EVENTS)]
        assert [row[b"v"] for row in rows] == [b"1", b"1", b"2"]
        assert rows[1].keys() == {b"v", b"kind", b"id", b"revision", b"score"}


async def test_scores_before_the_record_are_announced_with_it(rig: Rig) -> None:
    """An event that found no record is sent again, for each source."""
    entry = a_new_record(rig.clock.now(), public_id="x")
    await rig.log.reserve(owner="public", public_id="x", own_id=entry.record.id)
    await rate(rig, "x", 0.25, Source.USER)
    await rate(rig, "x", 0.5, Source.EVAL, 0.5)
    before = await ratings_read(rig)
    await rig.log.record([entry])
    after = await ratings_read(rig)
    assert said(after) == said(before) == {(Source.USER, 1, 0.25, 1.0), (Source.EVAL, 1, 0.5, 0.5)}
    await rig.log.record([entry])
    assert await ratings_read(rig) == []


async def test_scores_are_withdrawn_by_source(rig: Rig) -> None:
    """Others stay, and a removal is asked for until it has been applied."""
    own = await recorded(rig)
    for source in (Source.USER, Source.EVAL):
        await rate(rig, own, 0.5, source)
    assert await rig.log.withdraw([own], [Source.JUDGE]) == [{}]
    for _ in range(2):
        assert await rig.log.withdraw([own], [Source.EVAL, Source.JUDGE]) == [{Source.EVAL: 2}]
    event = Event("0-1", EventKind.FEEDBACK, own, 2, source=Source.EVAL)
    await rig.posteriors.apply([Effect(event, ARM, rig.clock.now(), {})])
    assert await rig.log.withdraw([own], [Source.EVAL]) == [{}]
    found = await rig.log.find(owner="public", public_id=own)
    assert found is not None
    assert (found.rating is not None, found.scores, found.scores_applied[Source.EVAL]) == (True, {}, 2)


async def test_an_idempotency_key_is_for_one_source(rig: Rig) -> None:
    """The same score by another source is another rating."""
    own = await recorded(rig)
    assert await rate(rig, own, 0.5, Source.EVAL, idempotency_key="k") is Verdict.ACCEPTED
    assert await rate(rig, own, 0.5, Source.EVAL, idempotency_key="k") is Verdict.ACCEPTED
    assert await rate(rig, own, 0.5, Source.CHECK, idempotency_key="k") is Verdict.KEY_REUSED


async def test_the_history_gets_every_revision_by_source(rig: Rig) -> None:
    own, now = await recorded(rig), rig.clock.now()
    await rate(rig, own, 0.5, Source.USER)
    await rate(rig, own, 0.5, Source.EVAL, 1 / 3)
    await rig.log.withdraw([own], [Source.EVAL])
    ratings = [waiting.rating for waiting in await rig.outbox.read(10) if waiting.rating is not None]
    assert ratings == [
        PastRating(own, 1, 0.5, None, now),
        PastRating(own, 1, 0.5, None, now, Source.EVAL, 1 / 3),
        PastRating(own, 2, None, None, now, Source.EVAL),
    ]


async def test_an_evaluation_is_kept_with_its_request(rig: Rig) -> None:
    """For the learner, for `GET /requests/{id}`, and for the history."""
    own, evaluation = await recorded(rig), an_evaluation()
    assert await evaluate(rig.evaluations, own, evaluation)
    (loaded,) = await rig.log.load([own])
    found = await rig.log.find(owner="public", public_id=own)
    assert loaded is not None
    assert found is not None
    assert loaded.evaluation == found.evaluation == evaluation
    assert not found.evaluation_applied
    assert evaluation in [waiting.evaluation for waiting in await rig.outbox.read(10)]
    *_, event = await rig.queue.read("test", 10)
    assert (event.kind, event.revision, event.version) == (EventKind.EVALUATION, 1, EVENT_VERSION)
    await rig.posteriors.apply([Effect(event, ARM, rig.clock.now(), {"shadows": 1})])
    found = await rig.log.find(owner="public", public_id=own)
    assert found is not None
    assert found.evaluation_applied


async def test_an_evaluation_that_comes_after_its_request_was_forgotten_is_dropped(rig: Rig) -> None:
    """What a person has taken out of the beliefs does not come back by the side door."""
    own = await recorded(rig)
    forgotten = Event("0-1", EventKind.OUTCOME, own, FORGOTTEN_REVISION)
    await rig.posteriors.apply([Effect(forgotten, ARM, rig.clock.now(), {})])
    assert not await evaluate(rig.evaluations, own, an_evaluation())
    (loaded,) = await rig.log.load([own])
    assert loaded is not None
    assert loaded.evaluation is None


async def test_the_steps_of_a_session_are_its_latest_whole_answers(rig: Rig) -> None:
    """Of its owner alone, oldest first, each once, a hundred at most, while they can be rated."""

    async def record(number: int = 1, **facts: object) -> list[str]:
        entries = [a_new_record(rig.clock.now(), owner="a", **facts) for _ in range(number)]
        entries = [replace(each, record=replace(each.record, session="talk")) for each in entries]
        await rig.log.record(entries)
        await rig.log.record(entries[:1])
        return [each.record.id for each in entries]

    async def steps(owner: str = "a") -> list[str]:
        return await rig.log.session_steps(owner=owner, session="talk")

    assert await steps() == []
    first = await record(2)
    for status in (Status.FAILED, Status.TRUNCATED, Status.CANCELLED):
        await record(status=status)
    await rig.log.record([a_new_record(rig.clock.now(), owner="a")])
    assert await steps() == first
    assert await steps("b") == []
    if rig.raw is not None:
        kept_ms = await rig.raw.pttl(redis_keys.session_steps("a", "talk"))
        assert kept_ms == pytest.approx((WINDOW_S + GRACE_S) * 1000, rel=0.01)
    rig.clock.advance(WINDOW_S + 1)
    assert await steps() == []
    later = await record(STEPS_KEPT + 1)
    assert await steps() == later[1:]
