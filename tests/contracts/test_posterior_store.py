"""What every `PosteriorStore` promises."""

from __future__ import annotations

import pytest

from shared.bandit.sums import Sums
from shared.schemas.events import Event, EventKind
from shared.schemas.storage import Applied, Effect
from tests.support.redis_rig import RECENCY_DAYS, Rig
from tests.support.sample_records import ARM, a_new_record
from tests.support.values import replace

DAY_S = 86_400.0


def rating(score: float) -> dict[str, int]:
    return {"labels": 1, "score_micro": round(score * 1e6), "score_sq_micro": round(score * score * 1e6)}


async def recorded(rig: Rig, **facts: object) -> Effect:
    """Record a request and return its outcome's effect, read from the stream."""
    entry = a_new_record(rig.clock.now(), **facts)
    await rig.log.record([entry])
    (event,) = await rig.queue.read("test", 1)
    return Effect(event, entry.record.outcome.arm, entry.record.created_at, {"requests": 1, "latency_us": 1_250_000})


def rated(effect: Effect, revision: int, score: float) -> Effect:
    event = Event("0-1", EventKind.FEEDBACK, effect.event.request_id, revision, score=score)
    return replace(effect, event=event, sums=rating(score))


async def total(rig: Rig, arm: str = ARM) -> Sums:
    return (await rig.posteriors.load()).arms[arm].total


async def test_nothing_is_known_at_first(rig: Rig) -> None:
    """An empty store loads, as version 0."""
    state = await rig.posteriors.load()
    assert (state.version, dict(state.arms), state.kinds) == ("0", {}, None)
    assert await rig.posteriors.apply([]) == []


async def test_an_effect_counts_once_and_its_event_is_gone(rig: Rig) -> None:
    """Applied, then replayed; the stream is empty after the first."""
    effect = await recorded(rig)
    assert await rig.posteriors.apply([effect, effect]) == [Applied.APPLIED, Applied.REPLAYED]
    assert (await rig.queue.depth()).waiting == 0
    assert await total(rig) == Sums(requests=1, latency_s=1.25)
    found = await rig.log.find(owner="public", public_id=effect.event.request_id)
    assert found is not None
    assert found.outcome_applied


async def test_a_revision_replaces_what_it_revises(rig: Rig) -> None:
    """The sums are those of the latest rating alone, and an older one that comes late changes nothing."""
    effect = await recorded(rig)
    first, second, third = (rated(effect, at, score) for at, score in ((1, 0.25), (2, 0.5), (3, 1.0)))
    assert await rig.posteriors.apply([first, third, second, first, third]) == [
        Applied.APPLIED,
        Applied.APPLIED,
        Applied.REPLAYED,
        Applied.REPLAYED,
        Applied.REPLAYED,
    ]
    assert await total(rig) == Sums(labels=1, score=1, score_sq=1)
    found = await rig.log.find(owner="public", public_id=effect.event.request_id)
    assert found is not None
    assert found.rating_applied == 3


@pytest.mark.parametrize("score", [0.0, 0.0004, 1.0])
async def test_a_zero_can_be_revised_like_any_number(rig: Rig, score: float) -> None:
    """Nothing is special about a score of 0, nor about one whose square rounds to 0."""
    effect = await recorded(rig)
    await rig.posteriors.apply([rated(effect, 1, score)])
    assert await rig.posteriors.apply([rated(effect, 2, 0.5)]) == [Applied.APPLIED]
    assert await total(rig) == Sums(labels=1, score=0.5, score_sq=0.25)


async def test_fields_that_a_revision_no_longer_has_are_taken_back(rig: Rig) -> None:
    """A contribution is replaced as a whole, kinds and negative sums included."""
    effect = await recorded(rig)
    gain = replace(rated(effect, 1, 0.5), sums=rating(0.5) | {"local_gain_micro": -40_000, "labels@1.2": 1})
    await rig.posteriors.apply([gain])
    state = await rig.posteriors.load()
    assert state.arms[ARM].total.gain == pytest.approx(-0.04)
    assert state.arms[ARM].kinds[1, 2].labels == 1
    await rig.posteriors.apply([rated(effect, 2, 0.5)])
    state = await rig.posteriors.load()
    assert state.arms[ARM].total == Sums(labels=1, score=0.5, score_sq=0.25)
    assert state.arms[ARM].kinds.get((1, 2), Sums()) == Sums()


async def test_an_effect_without_a_record_waits(rig: Rig) -> None:
    """Nothing is written, and the event stays for later."""
    await rig.log.reserve(owner="public", public_id="x", own_id=(entry := a_new_record(rig.clock.now())).record.id)
    await rig.log.rate(owner="public", public_id="x", score=1, text=None, now=rig.clock.now())
    (event,) = await rig.queue.read("test", 10)
    effect = Effect(event, ARM, rig.clock.now(), rating(1.0))
    assert await rig.posteriors.apply([effect]) == [Applied.MISSING]
    assert (await rig.posteriors.load()).arms == {}
    assert (await rig.queue.depth()).waiting == 1
    await rig.log.record([entry])
    assert await rig.posteriors.apply([effect]) == [Applied.APPLIED]


@pytest.mark.parametrize("bad", [10**15, -(10**15), 10**30])
async def test_a_contribution_out_of_range_is_refused_whole(rig: Rig, bad: int) -> None:
    """No part of it is written, and the event stays."""
    effect = await recorded(rig)
    assert await rig.posteriors.apply([replace(effect, sums={"requests": 1, "cost_nanousd": bad})]) == [Applied.REFUSED]
    assert (await rig.posteriors.load()).arms == {}
    assert (await rig.queue.depth()).waiting == 1
    assert await rig.posteriors.apply([effect]) == [Applied.APPLIED]


async def test_large_sums_keep_their_last_digit(rig: Rig) -> None:
    """Numbers are never rounded, in neither direction."""
    most = 999_999_999_999_999
    effect = await recorded(rig)
    large = {"requests": 1_000_000, "cost_nanousd": most}
    await rig.posteriors.apply([replace(effect, sums=large)])
    assert (await total(rig)).cost_usd == most / 1e9
    again = replace(effect, event=replace(effect.event, revision=2), sums={"requests": 1})
    await rig.posteriors.apply([again])
    assert await total(rig) == Sums(requests=1)


@pytest.mark.parametrize("other", ["vendor/model-b", 'odd|"\\name'])
async def test_one_contribution_may_span_several_arms(rig: Rig, other: str) -> None:
    """All of it or nothing, once, and taken back as a whole when it is revised."""
    effect = replace(await recorded(rig), sums={"requests": 1, "failures": 1, f"failures|{other}": 2})
    assert await rig.posteriors.apply([effect, effect]) == [Applied.APPLIED, Applied.REPLAYED]
    assert await total(rig) == Sums(requests=1, failures=1)
    assert await total(rig, other) == Sums(failures=2)
    version = (await rig.second_reader.load()).version
    revised = replace(effect, event=replace(effect.event, revision=2), sums={"requests": 1})
    bad = replace(revised, sums={"requests": 1, f"failures|{other}": 10**15})
    assert await rig.posteriors.apply([bad]) == [Applied.REFUSED]
    assert await total(rig, other) == Sums(failures=2)
    assert await rig.posteriors.apply([revised]) == [Applied.APPLIED]
    assert (await total(rig), await total(rig, other)) == (Sums(requests=1), Sums())
    assert (await rig.second_reader.load()).version != version


async def test_an_empty_contribution_is_acknowledged(rig: Rig) -> None:
    """A cancelled request teaches nothing, once."""
    effect = replace(await recorded(rig), sums={})
    assert await rig.posteriors.apply([effect, effect]) == [Applied.APPLIED, Applied.REPLAYED]
    assert (await rig.posteriors.load()).arms == {}
    assert (await rig.queue.depth()).waiting == 0


async def test_days_fade_by_half_lives(rig: Rig) -> None:
    """After RECENCY_DAYS a request counts half, after eight times that not at all."""
    await rig.posteriors.apply([await recorded(rig)])
    now = (await rig.posteriors.load()).version
    rig.clock.advance(RECENCY_DAYS * DAY_S)
    assert (await total(rig)).requests == pytest.approx(0.5)
    assert (await rig.posteriors.load()).version != now
    rig.clock.advance(7 * RECENCY_DAYS * DAY_S)
    assert (await total(rig)).requests == pytest.approx(1 / 256)
    rig.clock.advance(DAY_S)
    assert (await rig.posteriors.load()).arms == {}


async def test_old_days_are_dropped_and_young_ones_kept(rig: Rig) -> None:
    """Forgetting says how many hashes went."""
    await rig.posteriors.apply([await recorded(rig), await recorded(rig, arm="vendor/model-b")])
    rig.clock.advance(10 * DAY_S)
    await rig.posteriors.apply([await recorded(rig)])
    assert await rig.posteriors.forget_before(rig.clock.now() - 11 * DAY_S) == 0
    assert await rig.posteriors.forget_before(rig.clock.now() - 5 * DAY_S) == 2
    state = await rig.posteriors.load()
    assert set(state.arms) == {ARM}
    assert state.arms[ARM].total.requests == 1


async def test_two_readers_agree_and_see_every_change(rig: Rig) -> None:
    """The version changes exactly when the state does, and is the same for all readers."""
    effect = await recorded(rig)
    versions = {(await rig.posteriors.load()).version}
    for step in (effect, rated(effect, 1, 0.2), rated(effect, 2, 0.4), await recorded(rig, arm="vendor/model-b")):
        await rig.posteriors.apply([step])
        one, other, same = await rig.posteriors.load(), await rig.second_reader.load(), await rig.posteriors.load()
        assert one.version == other.version == same.version
        assert one.arms == other.arms == same.arms
        versions.add(one.version)
    assert len(versions) == 5


async def test_sums_by_kind_and_block_come_and_go(rig: Rig) -> None:
    """Fields of a kind, of a block and of both are added and taken back like any other; a surprise may be negative."""
    by_kind = {
        "labels@1.17": 1, "score_micro@1.17": 500_000, "labels~3": 1, "score_micro~3": 500_000, "surprises~3": 1,
        "surprise_micro~3": -900_000, "labels@1.17~3": 1, "score_micro@1.17~3": 500_000, "surprises@1.17~3": 1,
        "surprise_micro@1.17~3": -900_000,
    }  # fmt: skip
    effect = await recorded(rig)
    first = replace(rated(effect, 1, 0.5), sums=rating(0.5) | by_kind)
    assert await rig.posteriors.apply([first]) == [Applied.APPLIED]
    sums = (await rig.posteriors.load()).arms[ARM]
    assert (sums.kinds[1, 17].labels, sums.kinds[1, 17].score) == (1, 0.5)
    (block,) = sums.kind_blocks[1, 17]
    assert block == sums.blocks[0]
    assert (block.labels, block.score, block.surprise, block.surprises) == (1, 0.5, -0.9, 1)
    revised = replace(rated(effect, 2, 1.0), sums=rating(1.0) | by_kind | {"surprise_micro@1.17~3": 100_000})
    assert await rig.posteriors.apply([revised]) == [Applied.APPLIED]
    (block,) = (await rig.posteriors.load()).arms[ARM].kind_blocks[1, 17]
    assert (block.labels, block.surprise) == (1, 0.1)
    assert await rig.posteriors.apply([replace(rated(effect, 3, 1.0), sums={})]) == [Applied.APPLIED]
    (block,) = (await rig.posteriors.load()).arms[ARM].kind_blocks[1, 17]
    assert (block.labels, block.surprise, block.surprises) == (0, 0, 0)
