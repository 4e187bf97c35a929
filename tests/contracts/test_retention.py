"""What is kept of a request, in which form and for how long, on the fake and on Redis."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shared.bandit.sources import Source
from shared.errors import DependencyError, Gone
from shared.schemas.records import StoredRequest
from shared.schemas.storage import NewRecord, RatingTerms, Verdict
from shared.storage import redis_keys
from shared.storage.redis_requests import GRACE_S
from shared.storage.story_codec import is_packed, packed, record_of
from tests.support.fakes.request_log import FakeRequestLog
from tests.support.learning import a_learner
from tests.support.redis_rig import WINDOW_S, Rig, fake_rig, redis_rig
from tests.support.sample_records import a_new_record


@asynccontextmanager
async def a_rig(kind: str, request: pytest.FixtureRequest, history_bound: int) -> AsyncIterator[Rig]:
    if kind == "fake":
        yield fake_rig(history_bound)
        return
    async with redis_rig(request.getfixturevalue("redis_server"), history_bound) as real:
        yield real


@pytest.fixture(params=["fake", "redis"])
async def with_history(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    async with a_rig(request.param, request, 100) as rig:
        yield rig


async def index(rig: Rig) -> None:
    """Mark all due points as written."""
    assert await rig.log.indexed(await rig.log.pending_index(100)) == []


async def find(rig: Rig, entry: NewRecord) -> StoredRequest | None:
    return await rig.log.find(owner=entry.record.owner, public_id=entry.record.public_id)


async def keys_of(rig: Rig, entry: NewRecord) -> set[str]:
    """The kinds of keys that a request has."""
    kinds = {"request": redis_keys.request, "story": redis_keys.story, "vector": redis_keys.vector}
    return {kind for kind, key in kinds.items() if await rig.raw.exists(key(entry.record.id))}


async def test_once_settled_a_request_has_a_packed_story_and_a_short_vector(rig: Rig) -> None:
    """It is whole while it is learned. A rating drops the vector once its point has been written."""
    entry = a_new_record(rig.clock.now(), public_id="x")
    await rig.log.record([entry])
    await a_learner(rig).drain()
    (before,) = await rig.log.load([entry.record.id])
    assert before is not None
    assert before.vector is not None
    found = await find(rig, entry)
    assert found is not None
    assert found.record == entry.record
    await index(rig)
    (after,) = await rig.log.load([entry.record.id])
    assert after is not None
    assert after.vector is not None
    assert float(after.vector @ before.vector) == pytest.approx(1.0, abs=1e-4)
    found = await find(rig, entry)
    assert found is not None
    assert found.record == record_of(packed(entry.record), entry.record.id)
    if rig.raw is not None:
        assert await keys_of(rig, entry) == {"request", "story", "vector"}
        assert await rig.raw.strlen(redis_keys.vector(entry.record.id)) == 4 + len(after.vector)
        assert is_packed(await rig.raw.get(redis_keys.story(entry.record.id)))


async def test_a_rated_request_has_its_vector_in_the_index_alone(rig: Rig) -> None:
    """Whether it was rated before it was settled or after that."""
    entries = [a_new_record(rig.clock.now()) for _ in range(2)]
    await rig.log.record(entries)
    for entry in entries:
        await rig.log.rate(owner="public", public_id=entry.record.id, score=1.0, text=None, now=rig.clock.now())
        await a_learner(rig).drain()
        await index(rig)
    for loaded in await rig.log.load([entry.record.id for entry in entries]):
        assert loaded is not None
        assert loaded.vector is None


async def test_a_request_that_was_rated_meanwhile_stays_whole(rig: Rig) -> None:
    """Its point is written again, with the new score."""
    entry = a_new_record(rig.clock.now())
    await rig.log.record([entry])
    await a_learner(rig).drain()
    await rig.log.rate(owner="public", public_id=entry.record.id, score=1.0, text=None, now=rig.clock.now())
    assert await rig.log.indexed({entry.record.id: 0}) == [entry.record.id]
    (loaded,) = await rig.log.load([entry.record.id])
    assert loaded is not None
    assert loaded.vector is not None


async def test_a_rating_adds_the_same_whenever_it_comes(rig: Rig) -> None:
    """Before the story is packed, after that, and when it is gone: shift, surprise, kind and block are the same."""
    entries = [a_new_record(rig.clock.now(), local_shift=0.05) for _ in range(3)]
    await rig.log.record(entries)
    added = []
    for number, entry in enumerate(entries):
        if number == 1:
            await a_learner(rig).drain()
            await index(rig)
        if number == 2:
            await forget_stories(rig)
        before = await sums(rig)
        for source, score in ((Source.USER, 0.3), (Source.EVAL, 0.9)):
            verdict = await rig.log.rate(
                owner=None, public_id=entry.record.id, score=score, text=None, now=rig.clock.now(),
                terms=RatingTerms(source=source),
            )  # fmt: skip
            assert verdict is Verdict.ACCEPTED
        await a_learner(rig).drain()
        after = await sums(rig)
        added.append({name: after[name] - before[name] for name in after if "label" in name or "gain" in name})
        if number == 0:
            assert {name for name in added[0] if added[0][name]} > {"labels", "labels_milli:eval", "local_gain_micro"}
    assert added[0] == added[1] == added[2]


async def forget_stories(rig: Rig) -> None:
    """Let all stories expire, and nothing else."""
    if rig.raw is not None:
        await rig.raw.delete(*[key async for key in rig.raw.scan_iter(redis_keys.story("*"))])


async def sums(rig: Rig) -> Counter[str]:
    """The sums of all arms and days."""
    total = Counter[str]()
    if isinstance(rig.log, FakeRequestLog):
        for sums in rig.log.memory.sums.values():
            total.update(sums)
        return total
    async for key in rig.raw.scan_iter(redis_keys.sums("*", "*")):
        for name, value in (await rig.raw.hgetall(key)).items():
            total[name.decode()] += int(value)
    return total


async def test_a_story_expires_before_what_a_rating_needs(rig: Rig) -> None:
    """Then it is gone, which is not unknown; it can still be rated, and the list leaves it out."""
    entry = a_new_record(rig.clock.now())
    await rig.log.record([entry])
    rig.clock.advance(WINDOW_S + 1)
    found = await find(rig, entry)
    assert found is not None, "a story that is not learned yet stays"
    await a_learner(rig).drain()
    await index(rig)
    with pytest.raises(Gone) as gone:
        await find(rig, entry)
    assert gone.value.code == "record_expired"
    assert await rig.log.find(owner="another", public_id=entry.record.id) is None, "to others it is unknown"
    assert (await rig.request_list.page(None, before="", limit=10)).requests == ()
    (loaded,) = await rig.log.load([entry.record.id])
    assert loaded is not None
    assert loaded.record.rateable


async def test_with_a_history_redis_keeps_no_story(with_history: Rig) -> None:
    """It goes once it is learned, settled and in the history, whichever is last; then the history shows it."""
    rig = with_history
    for order in (0, 1):
        rig.clock.advance(1)
        entry = a_new_record(rig.clock.now(), public_id=f"x{order}")
        rig.archive.add(entry.record)
        await rig.log.record([entry])
        await a_learner(rig).drain()
        if order == 0:
            assert await rig.log.pending_index(1) == {}, "it is settled once, when it is in the history"
            assert [each.request is not None for each in await rig.outbox.read(1)] == [True], "the history needs it"
        await write(rig)
        await index(rig)
        found = await find(rig, entry)
        assert found is not None
        assert found.record == entry.record
        (listed, *_) = (await rig.request_list.page("public", before="", limit=1)).requests
        assert listed.record == entry.record
        if rig.raw is not None:
            assert await keys_of(rig, entry) == {"request", "vector"}
            rig.archive.away = True
            with pytest.raises(DependencyError):
                await find(rig, entry)
            rig.archive.away = False


async def test_with_a_history_a_point_waits_for_the_index_alone(with_history: Rig) -> None:
    """A rated request is due before it is in the history, which still gets it whole; then it is due once more."""
    rig = with_history
    entry = a_new_record(rig.clock.now())
    await rig.log.record([entry])
    await rig.log.rate(owner=None, public_id=entry.record.id, score=1.0, text=None, now=rig.clock.now())
    await a_learner(rig).drain()
    assert await rig.log.pending_index(2) == {entry.record.id: 1}
    await index(rig)
    (waiting, *_) = await rig.outbox.read(1)
    assert waiting.request is not None
    assert waiting.request.record == entry.record
    assert waiting.request.vector is not None
    await write(rig)
    assert await rig.log.pending_index(2) == {entry.record.id: 1}


async def write(rig: Rig) -> None:
    """Have the history take all that waits."""
    await rig.outbox.done(await rig.outbox.read(100))


async def test_lifetimes_of_the_keys(redis_server: str) -> None:
    """Before it is learned all live as long as the request; then the story for its own time."""
    async with redis_rig(redis_server) as rig:
        entry = a_new_record(rig.clock.now(), public_id="x", owner="5f2b9c0d")
        await rig.log.record([entry])
        own_id = entry.record.id
        keys = [redis_keys.request(own_id), redis_keys.story(own_id), redis_keys.vector(own_id)]
        keys.append(redis_keys.alias("5f2b9c0d", "x"))
        for key in keys:
            assert WINDOW_S + GRACE_S - 60 < await rig.raw.ttl(key) <= WINDOW_S + GRACE_S
        await a_learner(rig).drain()
        await index(rig)
        assert WINDOW_S - 60 < await rig.raw.ttl(redis_keys.story(own_id)) <= WINDOW_S
        assert await rig.raw.object("encoding", redis_keys.request(own_id)) in (b"listpack", "listpack")


async def test_an_own_id_needs_no_alias(rig: Rig) -> None:
    """Found, rated and taken without one; but the id of a failed request can be reserved again by its owner."""
    entry = a_new_record(rig.clock.now(), owner="5f2b9c0d")
    own_id = entry.record.id
    await rig.log.reserve(owner="5f2b9c0d", public_id=own_id, own_id=own_id)
    await rig.log.record([entry])
    if rig.raw is not None:
        assert await rig.raw.keys("{router}:alias:*") == []
    for owner in ("5f2b9c0d", None):
        found = await rig.log.find(owner=owner, public_id=own_id)
        assert found is not None
    assert await rig.log.find(owner="another", public_id=own_id) is None
    now = rig.clock.now()
    assert await rig.log.rate(owner="another", public_id=own_id, score=1.0, text=None, now=now) is Verdict.UNKNOWN
    assert await rig.log.rate(owner="5f2b9c0d", public_id=own_id, score=1.0, text=None, now=now) is Verdict.ACCEPTED
