"""Contract of `RequestLog`: terms of ratings, conversations, exploration and withdrawal, on the fake and on Redis."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from shared.bandit.decision import Decision
from shared.bandit.sources import Source
from shared.schemas.events import Event, EventKind
from shared.schemas.records import Status
from shared.schemas.storage import Effect, LastAnswer, NewRecord, RatingTerms, Verdict
from tests.support.redis_rig import WINDOW_S, Rig
from tests.support.sample_records import ARM, a_new_record, own_id
from tests.support.values import replace

LINK = RatingTerms(rater="link", by_link=True)


async def rate(rig: Rig, public_id: str, score: float, terms: RatingTerms, owner: str | None = None) -> Verdict:
    return await rig.log.rate(
        owner=owner, public_id=public_id, score=score, text=None, now=rig.clock.now(), terms=terms
    )


def keyed(name: str, rater: str = "public") -> RatingTerms:
    return RatingTerms(rater=rater, idempotency_key=name)


async def recorded(rig: Rig, **facts: object) -> NewRecord:
    entry = a_new_record(rig.clock.now(), **facts)
    await rig.log.record([entry])
    return entry


async def revision(rig: Rig, own: str) -> int:
    (loaded,) = await rig.log.load([own])
    assert loaded is not None
    return loaded.revision


# -- idempotency keys --------------------------------------------------------------------------------------------------


async def test_a_key_with_the_same_rating_gets_the_same_answer_and_has_one_effect(rig: Rig) -> None:
    """Also after another rating came in between: what a network repeats must not undo what a person changed."""
    own = (await recorded(rig)).record.id
    assert await rate(rig, own, 0.8, keyed("k")) is Verdict.ACCEPTED
    assert await rate(rig, own, 0.8, keyed("k")) is Verdict.ACCEPTED
    assert await rate(rig, own, 0.2, keyed("other")) is Verdict.REVISED
    assert await rate(rig, own, 0.8, keyed("k")) is Verdict.ACCEPTED
    found = await rig.log.find(owner=None, public_id=own)
    assert found is not None
    assert found.rating is not None
    assert (found.rating.score, found.rating.revision) == (0.2, 2)


async def test_a_key_with_another_rating_is_refused(rig: Rig) -> None:
    """Another score or another request under the same key is a mistake; another rater's key is another."""
    first, second = [(await recorded(rig)).record.id for _ in range(2)]
    assert await rate(rig, first, 0.8, keyed("k")) is Verdict.ACCEPTED
    assert await rate(rig, first, 0.7, keyed("k")) is Verdict.KEY_REUSED
    assert await rate(rig, second, 0.8, keyed("k")) is Verdict.KEY_REUSED
    assert await revision(rig, first) == 1
    assert await rate(rig, second, 0.8, keyed("k", rater="somebody")) is Verdict.ACCEPTED


async def test_a_key_remembers_nothing_of_what_was_refused(rig: Rig) -> None:
    """A 404 now may be a 202 in a moment: the record was on its way."""
    entry = a_new_record(rig.clock.now())
    assert await rate(rig, entry.record.id, 0.8, keyed("k")) is Verdict.UNKNOWN
    await rig.log.record([entry])
    assert await rate(rig, entry.record.id, 0.8, keyed("k")) is Verdict.ACCEPTED


async def test_a_hundred_concurrent_ratings_under_one_key_are_one(rig: Rig) -> None:
    """In parallel, too, there is one effect, and all get the same verdict."""
    own = (await recorded(rig)).record.id
    answers = await asyncio.gather(*(rate(rig, own, 0.8, keyed("k")) for _ in range(100)))
    assert Counter(answers) == {Verdict.ACCEPTED: 100}
    assert await revision(rig, own) == 1


# -- limits and links --------------------------------------------------------------------------------------------------


async def test_a_rater_has_so_many_ratings_a_minute(rig: Rig) -> None:
    """Beyond it nothing is stored; the next minute, and another rater, have their own."""
    own = (await recorded(rig)).record.id
    limited = RatingTerms(rater="a", per_minute=3)
    answers = [await rate(rig, own, score / 10, limited) for score in range(5)]
    assert answers == [Verdict.ACCEPTED, Verdict.REVISED, Verdict.REVISED, Verdict.LIMITED, Verdict.LIMITED]
    assert await revision(rig, own) == 3
    assert await rate(rig, own, 0.9, replace(limited, rater="b")) is Verdict.REVISED
    rig.clock.advance(60.0)
    assert await rate(rig, own, 1.0, limited) is Verdict.REVISED


async def test_a_link_rates_once(rig: Rig) -> None:
    """The second use of a link is refused, also in parallel; the owner may still revise."""
    own = (await recorded(rig, owner="a")).record.id
    answers = await asyncio.gather(*(rate(rig, own, n / 20, LINK) for n in range(20)))
    assert Counter(answers) == {Verdict.ACCEPTED: 1, Verdict.LINK_USED: 19}
    assert await rate(rig, own, 0.123, RatingTerms(), owner="a") is Verdict.REVISED
    assert await rate(rig, own, 0.5, LINK) is Verdict.LINK_USED


async def test_a_link_dies_with_the_window_and_is_not_used_up_by_refusals(rig: Rig) -> None:
    """Expired is expired, recorded or not; a request without a whole answer cannot be rated by link either."""
    failed = (await recorded(rig, status=Status.FAILED)).record.id
    assert await rate(rig, failed, 1.0, LINK) is Verdict.NOT_RATEABLE
    own, never = (await recorded(rig)).record.id, own_id(rig.clock.now())
    rig.clock.advance(WINDOW_S + 1.0)
    assert await rate(rig, own, 1.0, LINK) is Verdict.EXPIRED
    assert await rate(rig, never, 1.0, LINK) is Verdict.EXPIRED


async def test_a_link_means_its_own_request_whatever_others_call_theirs(rig: Rig) -> None:
    """A client that names its request after another owner's id does not get that one's rating."""
    mine = (await recorded(rig, owner="a")).record.id
    theirs = (await recorded(rig, public_id=mine)).record.id
    assert await rate(rig, mine, 0.9, LINK) is Verdict.ACCEPTED
    assert (await revision(rig, mine), await revision(rig, theirs)) == (1, 0)


# -- conversations and exploring ---------------------------------------------------------------------------------------


def in_session(entry: NewRecord, session: str) -> NewRecord:
    return replace(entry, record=replace(entry.record, session=session))


async def test_a_conversation_is_with_the_arm_that_answered_last(rig: Rig) -> None:
    """Per owner; a failed request changes nothing, and one without a session neither."""
    for arm, status in (("a/one", Status.ANSWERED), ("b/two", Status.CANCELLED), ("c/three", Status.FAILED)):
        entry = in_session(a_new_record(rig.clock.now(), arm=arm, status=status, owner="me"), "talk")
        await rig.log.record([entry])
    await recorded(rig, arm="d/four", owner="me")
    last = await rig.log.last_answer(owner="me", session="talk")
    assert last is not None
    assert last.arm == "b/two"
    assert await rig.log.last_answer(owner="other", session="talk") is None
    assert await rig.log.last_answer(owner="me", session="") is None


async def test_a_conversation_knows_its_last_prompt_by_a_hash(rig: Rig) -> None:
    """Where the answer was whole: asking again after half of one is no sign of its quality."""
    now = rig.clock.now()
    for status, digest in ((Status.ANSWERED, "0a1b"), (Status.CANCELLED, "")):
        record = in_session(a_new_record(now, arm="a/one", status=status, owner="me"), "talk")
        entry = replace(record, digest="0a1b", cached_tokens=70)
        await rig.log.record([entry])
        assert await rig.log.last_answer(owner="me", session="talk") == LastAnswer("a/one", digest, now, 70)
    assert LastAnswer.from_text("a/one") == LastAnswer("a/one"), "as an earlier version wrote it"


def explored(entry: NewRecord, cost_usd: float) -> NewRecord:
    decision: Decision = entry.record.decision
    (view,) = decision.views
    better = replace(view, arm="better/arm", utility=view.utility + 0.1)
    drawn = replace(decision, propensity=0.3, views=(view, better), ranked=(view.arm, "better/arm"))
    outcome = replace(entry.record.outcome, cost_usd=cost_usd)
    return replace(entry, record=replace(entry.record, decision=drawn, outcome=outcome))


async def test_what_exploring_costs_is_summed_by_day_once_per_request(rig: Rig) -> None:
    """Only answers that the draw alone chose count; storing one again adds nothing; a new day begins at zero."""
    now = rig.clock.now()
    dear = [explored(a_new_record(now), 0.25), explored(a_new_record(now), 0.000_000_5)]
    await rig.log.record(dear)
    await rig.log.record([*dear, a_new_record(now)])
    assert await rig.log.explored_usd(now) == pytest.approx(0.250_000_5, abs=1e-12)
    assert await rig.log.explored_usd(now + 86_400) == 0.0


# -- withdrawing -------------------------------------------------------------------------------------------------------


async def test_ids_are_found_by_owner_and_time(rig: Rig) -> None:
    """Every recorded request of that owner since then, and no reserved or foreign one."""
    old = await recorded(rig, owner="a")
    rig.clock.advance(100.0)
    mine = [await recorded(rig, owner="a") for _ in range(5)]
    theirs = await recorded(rig, owner="b")
    await rate(rig, own_id(rig.clock.now()), 1.0, LINK)  # its record is still to come

    async def found(owner: str | None, since: float) -> set[str]:
        return {own async for batch in _batches(rig, owner, since) for own in batch}

    assert await found("a", rig.clock.now() - 1) == {entry.record.id for entry in mine}
    assert await found("a", 0.0) == {entry.record.id for entry in [old, *mine]}
    assert await found(None, 0.0) == {entry.record.id for entry in [old, *mine, theirs]}


async def _batches(rig: Rig, owner: str | None, since: float):  # type: ignore[no-untyped-def]  # an async generator
    async for batch in rig.log.ids_of(owner, since=since):
        yield batch


async def test_a_withdrawn_rating_has_a_revision_until_that_is_applied(rig: Rig) -> None:
    """Events of the rating come too late, a crash between the two steps is healed by asking again, a new one counts."""
    entry = await recorded(rig)
    own = entry.record.id
    assert await rig.log.withdraw([own], [Source.USER]) == [{}]
    await rate(rig, own, 0.8, RatingTerms())
    assert await rig.log.withdraw([own], [Source.USER]) == [{Source.USER: 2}]
    assert await rig.log.withdraw([own], [Source.USER]) == [{Source.USER: 2}]
    late = [event for event in await rig.queue.read("test", 10) if event.kind is EventKind.FEEDBACK]
    nothing = Effect(Event("0-1", EventKind.FEEDBACK, own, 2), ARM, entry.record.created_at, {})
    await rig.posteriors.apply([nothing])
    assert await rig.log.withdraw([own], [Source.USER]) == [{}]
    await rig.posteriors.apply([replace(nothing, event=event, sums={"labels": 1}) for event in late])
    learned = (await rig.posteriors.load()).arms
    assert not learned or learned[ARM].total.labels == 0
    found = await rig.log.find(owner=None, public_id=own)
    assert found is not None
    assert found.rating is None
    assert await rate(rig, own, 0.8, RatingTerms()) is Verdict.ACCEPTED
    assert await revision(rig, own) == 3
