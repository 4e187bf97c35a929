"""Contract of `Outbox`, and of the entries that `RequestLog` adds, on the fake and on Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest

from shared.bandit.sources import Source
from shared.schemas.events import EventKind
from shared.schemas.history import Contribution, PastRating, Waiting
from shared.schemas.storage import Effect, Verdict
from shared.storage import redis_keys
from tests.support.redis_rig import Rig, fake_rig, redis_rig
from tests.support.sample_records import a_new_record, own_id, without_vector
from tests.support.values import replace

BOUND = 8


@pytest.fixture(params=["fake", "redis"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    if request.param == "fake":
        yield fake_rig(BOUND)
        return
    async with redis_rig(request.getfixturevalue("redis_server"), BOUND) as real:
        yield real


async def rate(rig: Rig, public_id: str, score: float, text: str | None = None) -> Verdict:
    return await rig.log.rate(owner="public", public_id=public_id, score=score, text=text, now=rig.clock.now())


async def test_every_record_and_every_revision_is_remembered_once(rig: Rig) -> None:
    """Repeats leave nothing; request and ratings come as they were, oldest first, until they are done."""
    entry = replace(a_new_record(rig.clock.now(), public_id="x"), prompt="What? \ud800")
    bare = without_vector(a_new_record(rig.clock.now()))
    for _ in range(2):
        await rig.log.record([entry, bare])
    rated_at = rig.clock.now()
    for score, text in ((0.25, None), (0.25, None), (0.5, "meh\x00 \ud800"), (0.5, "")):
        await rate(rig, "x", score, text)
    first, second, *ratings = await rig.outbox.read(100)
    assert first.request is not None
    assert first.request.record == entry.record
    assert first.request.prompt == entry.prompt
    np.testing.assert_array_equal(first.request.vector, entry.vector)
    assert second.request is not None
    assert (second.request.vector, second.request.prompt) == (None, None)
    assert [waiting.rating for waiting in ratings] == [
        PastRating(entry.record.id, revision, score, text, rated_at)
        for revision, (score, text) in enumerate(((0.25, None), (0.5, "meh\x00 \ud800"), (0.5, "")), 1)
    ]
    assert {waiting.request_id for waiting in (first, *ratings)} == {entry.record.id}
    assert len(await rig.outbox.read(2)) == 2
    assert (await rig.outbox.depth()).waiting == 5
    await rig.outbox.done([first, ratings[0]])
    await rig.outbox.done([first, Waiting("1-1", "")])
    assert [waiting.entry_id for waiting in await rig.outbox.read(100)] == [
        waiting.entry_id for waiting in (second, *ratings[1:])
    ]


async def test_a_rating_that_is_taken_back_is_remembered_as_such(rig: Rig) -> None:
    """One revision more, without a score; asking again adds nothing."""
    entry = a_new_record(rig.clock.now())
    await rig.log.record([entry])
    await rate(rig, entry.record.id, 0.5, "good")
    for _ in range(2):
        await rig.log.withdraw([entry.record.id], [Source.USER])
    *_, last = await rig.outbox.read(100)
    assert last.rating == PastRating(entry.record.id, 2, None, None, rig.clock.now())
    assert (await rig.outbox.depth()).waiting == 3


async def test_what_was_learned_is_remembered_with_it(rig: Rig) -> None:
    """Each contribution that is applied, once: replays and older revisions add nothing, taking it back does."""
    entry = a_new_record(rig.clock.now())
    await rig.log.record([entry])
    await rig.outbox.done(await rig.outbox.read(9))
    (event,) = await rig.queue.read("test", 10)
    sums = {"requests": 1, "cost_nanousd": 7, "failures|vendor/model-b": 1}
    effect = Effect(event, entry.record.outcome.arm, entry.record.created_at, sums)
    emptied = replace(effect, event=replace(event, revision=2), sums={})
    await rig.posteriors.apply([effect, effect, emptied, effect])
    own_id = entry.record.id
    assert [waiting.contribution for waiting in await rig.outbox.read(9)] == [
        Contribution(own_id, EventKind.OUTCOME, 1, sums),
        Contribution(own_id, EventKind.OUTCOME, 2, {}),
    ]


async def test_a_rating_before_its_record_is_remembered_once(rig: Rig) -> None:
    """The event is said again when the record comes; the history needs it once."""
    entry = a_new_record(rig.clock.now(), public_id="x")
    await rig.log.reserve(owner="public", public_id="x", own_id=entry.record.id)
    await rate(rig, "x", 0.5)
    await rig.log.record([entry])
    assert [(waiting.rating is None, waiting.request is None) for waiting in await rig.outbox.read(9)] == [
        (False, True),
        (True, False),
    ]


async def test_a_full_outbox_counts_what_it_cannot_take_and_nothing_else_changes(rig: Rig) -> None:
    """Records, ratings and events are stored; only the history has a gap, which is counted."""
    entries = [a_new_record(rig.clock.now()) for _ in range(BOUND + 3)]
    await rig.log.record(entries)
    assert await rate(rig, entries[-1].record.id, 0.5) is Verdict.ACCEPTED
    depth = await rig.outbox.depth()
    assert (depth.waiting, depth.dropped) == (BOUND, 4)
    assert (await rig.queue.depth()).waiting == BOUND + 4
    await rig.outbox.done(await rig.outbox.read(1))
    assert await rate(rig, entries[0].record.id, 0.5) is Verdict.ACCEPTED
    depth = await rig.outbox.depth()
    assert (depth.waiting, depth.dropped) == (BOUND, 4)


async def test_depth_tells_the_age_of_the_oldest(rig: Rig) -> None:
    """Nothing waits for no time; what waits grows old."""
    assert (await rig.outbox.depth()) == (depth := await rig.outbox.depth())
    assert (depth.waiting, depth.age_s, depth.dropped) == (0, 0, 0)
    await rig.log.record([a_new_record(rig.clock.now())])
    await rig.pass_time(0.05)
    assert 0.04 <= (await rig.outbox.depth()).age_s < 5


async def test_the_bytes_that_wait_are_bounded_and_counted_exactly(redis_server: str) -> None:
    """Long texts fill it before many entries do; what is dropped is counted, what is done makes room."""
    async with redis_rig(redis_server, 1000, 11_000) as rig:
        entries = [a_new_record(rig.clock.now()) for _ in range(4)]
        await rig.log.record(entries)
        small = (await rig.outbox.depth()).size
        assert 4 * 100 < small < 4 * 250
        for entry in entries:
            assert await rate(rig, entry.record.id, 0.5, "x" * 3000) is Verdict.ACCEPTED
        depth = await rig.outbox.depth()
        assert (depth.waiting, depth.dropped) == (6 + 1, 1)
        assert 9000 < depth.size <= 11_000
        held = await rig.outbox.read(100)
        assert sum(len(waiting.rating.text or "") for waiting in held if waiting.rating) == 9000, (
            "each text is in it once"
        )
        await rig.outbox.done([*held[:5], held[0]])  # four requests, the first rating, and one that is gone already
        assert 6000 < (await rig.outbox.depth()).size < 7000
        await rig.raw.set(redis_keys.HISTORY_BYTES, "10999")
        assert await rate(rig, entries[0].record.id, 0.25) is Verdict.REVISED
        assert (await rig.outbox.depth()).dropped == 2
        await rig.outbox.done(await rig.outbox.read(100))
        assert (await rig.outbox.depth()).size == 0, "an empty outbox counts anew, whatever was counted before"
        assert await rate(rig, entries[1].record.id, 0.25) is Verdict.REVISED
        assert 100 < (await rig.outbox.depth()).size < 250


@pytest.mark.parametrize("rig", ["redis"], indirect=True)
async def test_a_damaged_outbox_keeps_nothing_else_out(rig: Rig) -> None:
    """Should the key hold something else, requests and ratings are stored and learned all the same."""
    await rig.raw.set(redis_keys.HISTORY, "nonsense")
    entry = a_new_record(rig.clock.now())
    await rig.log.record([entry])
    assert await rate(rig, entry.record.id, 0.5) is Verdict.ACCEPTED
    assert (await rig.queue.depth()).waiting == 2
    assert await rig.raw.get(redis_keys.HISTORY_DROPPED) == b"2"


@pytest.mark.parametrize("rig", ["redis"], indirect=True)
async def test_what_cannot_be_read_is_handed_out_empty(rig: Rig) -> None:
    """A request that is gone, a damaged one, an entry of another version: each is recognised and can be removed."""
    gone, damaged = (a_new_record(rig.clock.now()) for _ in range(2))
    await rig.log.record([gone, damaged])
    await rig.raw.delete(redis_keys.request(gone.record.id), redis_keys.story(gone.record.id))
    await rig.raw.set(redis_keys.story(damaged.record.id), "{}")
    await rig.raw.xadd(redis_keys.HISTORY, {"kind": "novelty", "id": own_id(rig.clock.now())})
    await rig.raw.xadd(redis_keys.HISTORY, {"kind": "rating", "id": gone.record.id, "revision": "many"})
    await rig.raw.xadd(
        redis_keys.HISTORY, {"kind": "applied", "id": "x", "of": "outcome", "revision": "1", "sums": "{"}
    )
    found = await rig.outbox.read(9)
    assert len(found) == 5
    assert all(waiting.empty for waiting in found)
    await rig.outbox.done(found)
    assert (await rig.outbox.depth()).waiting == 0
