"""Ratings of sessions: credited to the steps of the caller's own session, with weights that sum to one."""

from __future__ import annotations

import pytest

from services.gateway.app import Gateway
from shared.bandit.sources import Source
from shared.errors import Conflict, NotFound, Unavailable
from shared.schemas.events import EventKind
from shared.schemas.feedback import FeedbackRequest
from shared.schemas.ids import session_hash
from shared.schemas.records import Status
from shared.schemas.storage import RatingTerms, Verdict
from tests.support.fakes.gateway import World
from tests.support.sample_records import a_new_record
from tests.support.values import replace

SESSION = "a talk"


async def steps_of(world: World, number: int, *, owner: str = "mine", status: Status = Status.ANSWERED) -> list[str]:
    """Record answers of one session, oldest first."""
    entries = [a_new_record(world.clock.now(), owner=owner, status=status) for _ in range(number)]
    named = [replace(one, record=replace(one.record, session=session_hash(SESSION))) for one in entries]
    await world.log.record(named)
    return [one.record.id for one in named]


async def rate(gateway: Gateway, score: float, owner: str = "mine", **facts: object) -> list[Verdict]:
    feedback = FeedbackRequest("", score, None, session_id=SESSION)
    terms = RatingTerms(rater=owner, **facts)  # type: ignore[arg-type]  # the terms are its own
    return await gateway.feedback.record_session(feedback, owner=owner, terms=terms)


async def scores(world: World, own_id: str) -> dict[Source, tuple[float, float]]:
    found = await world.log.find(owner=None, public_id=own_id)
    assert found is not None
    assert found.rating is None, "a rating of the whole is none of the single answer"
    return {source: (each.score, each.weight) for source, each in found.scores.items()}


async def test_a_session_is_credited_to_its_steps(world: World) -> None:
    """Whole answers of this owner alone; the rating replaces the one before, also when a step has been added."""
    async with world.gateway() as gateway:
        mine = await steps_of(world, 3)
        theirs = await steps_of(world, 1, owner="theirs")
        cut = await steps_of(world, 1, status=Status.TRUNCATED)
        assert await rate(gateway, 0.75) == [Verdict.ACCEPTED] * 3
        assert await rate(gateway, 0.75) == [Verdict.DUPLICATE] * 3
        for own_id in mine:
            assert await scores(world, own_id) == {Source.SESSION: (0.75, 1 / 3)}
        for own_id in (*theirs, *cut):
            assert await scores(world, own_id) == {}
        mine += await steps_of(world, 1)
        assert await rate(gateway, 0.75) == [Verdict.REVISED] * 3 + [Verdict.ACCEPTED]
        for own_id in mine:
            assert await scores(world, own_id) == {Source.SESSION: (0.75, 1 / 4)}
        events = [each for each in world.memory.events.values() if each.kind is EventKind.FEEDBACK]
        assert {each.source for each in events} == {Source.SESSION}
        assert sum(each.weight for each in events[-4:]) == 1


async def test_another_source_rates_a_session_under_its_own_name(world: World) -> None:
    async with world.gateway() as gateway:
        (own_id,) = await steps_of(world, 1)
        await rate(gateway, 0.5, source=Source.EVAL)
        assert await scores(world, own_id) == {Source.EVAL: (0.5, 1.0)}


async def test_an_idempotency_key_holds_for_every_step(world: World) -> None:
    """The same again is answered as before; another score is refused."""
    async with world.gateway() as gateway:
        await steps_of(world, 2)
        for _ in range(2):
            assert await rate(gateway, 0.5, idempotency_key="k") == [Verdict.ACCEPTED] * 2
        with pytest.raises(Conflict):
            await rate(gateway, 0.6, idempotency_key="k")


async def test_an_unknown_session_is_not_found_and_in_doubt_unavailable(world: World) -> None:
    """A session whose steps are too old to be rated is as one that never was."""
    async with world.gateway() as gateway:
        with pytest.raises(NotFound):
            await rate(gateway, 0.5)
        await steps_of(world, 1)
        world.clock.advance(8 * 86_400)
        with pytest.raises(NotFound):
            await rate(gateway, 0.5)
        world.memory.away = True
        with pytest.raises(Unavailable):
            await rate(gateway, 0.5)
        world.memory.away = False
