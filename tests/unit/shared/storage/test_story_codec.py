"""Stories: what is exact in them, what is rounded, and how large they are."""

from __future__ import annotations

import random
from dataclasses import asdict, replace

import pytest
from msgspec.structs import replace as changed

from shared.bandit.decision import ArmView, Decision
from shared.schemas.ids import uuid7
from shared.schemas.records import Lesson, RequestRecord
from shared.storage.story_codec import ROOM, is_packed, lesson_of, packed, record_of
from tests.support.sample_records import a_record

NOW = 1_795_000_000.25
ARMS = tuple(f"maker{at % 5}/some-model-{at}-{at * 37 % 100}b" for at in range(12))
EXACT = ("arm", "propensity")


def a_story(arms: int = 12, neighbours: int = 50, seed: int = 0) -> RequestRecord:
    """A record with random estimates, and neighbours of one more arm than the eligible ones."""
    rng, record = random.Random(seed), a_record(NOW)
    shares = [rng.random() for _ in range(arms)]
    chances = [share / sum(shares) for share in shares]
    views = tuple(
        ArmView(
            arm=arm, quality=rng.random(), quality_sd=rng.random(), draw_sd=rng.random(), base_quality=rng.random(),
            local_shift=rng.uniform(-1, 1), cost_usd=10 ** rng.uniform(-7, -1), latency_s=rng.uniform(0.1, 60),
            cost_term=rng.random(), speed_term=rng.random(), utility=rng.uniform(-2, 2), draw=rng.uniform(-2, 2),
            propensity=chance, labels=rng.uniform(0, 1e6), rating_sd=rng.random(),
        )
        for arm, chance in zip(ARMS[:arms], chances, strict=True)
    )  # fmt: skip
    known = (*ARMS[:arms], "another/model")
    uses = tuple(
        (uuid7(NOW - rng.uniform(0, 2e6)), similarity, known[at % len(known)], rng.random(), rng.uniform(0, 50))
        for at, similarity in enumerate(sorted((rng.uniform(0.7, 1) for _ in range(neighbours)), reverse=True))
    )
    examples = uuid7(NOW), uuid7(NOW - 60)
    decision = replace(record.decision, examples=examples, reason=f"of a kind, such as {examples[0]}")
    decision = replace(decision, ranked=ARMS[:arms], views=views, neighbours=uses, propensity=chances[0])
    return changed(record, decision=decision)


def assert_close(found: Decision, stored: Decision) -> None:
    """Check the lists of a decision; all else is equal."""
    assert replace(found, views=(), neighbours=()) == replace(stored, views=(), neighbours=())
    for view, exact in zip(found.views, stored.views, strict=True):
        for name, value in asdict(exact).items():
            kept = getattr(view, name)
            assert kept == value if name in EXACT or value is None else kept == pytest.approx(value, rel=1e-3)
    for use, (name, similarity, arm, score, weight) in zip(found.neighbours, stored.neighbours, strict=True):
        assert use[2] == arm
        assert use[1] == pytest.approx(similarity, abs=2e-4)
        assert use[3] == pytest.approx(score, abs=2e-5)
        assert use[4] == pytest.approx(weight, rel=1e-3)
        assert use[0] in (name, "")


@pytest.mark.parametrize("seed", range(20))
def test_a_story_keeps_propensities_exactly_and_estimates_to_three_digits(seed: int) -> None:
    """Whatever the sizes of the lists; the decision in shadow mode as well."""
    record = a_story(arms=1 + seed % 12, neighbours=3 * seed, seed=seed)
    record = changed(record, shadow=a_story(2, 5).decision if seed % 2 else None)
    story = packed(record)
    assert is_packed(story)
    found = record_of(story, record.id)
    assert_close(found.decision, record.decision)
    if record.shadow is not None:
        assert found.shadow is not None
        assert_close(found.shadow, record.shadow)
    assert changed(found, decision=record.decision, shadow=record.shadow) == record


@pytest.mark.parametrize(("arms", "neighbours"), [(2, 3), (5, 50), (12, 50)])
def test_the_nearest_neighbours_keep_their_ids(arms: int, neighbours: int) -> None:
    """As many as there is room for, the nearest first; the others lose theirs, and nothing else."""
    record = a_story(arms, neighbours)
    story = packed(record)
    ids = [use[0] for use in record_of(story, record.id).decision.neighbours]
    named = neighbours - ids.count("")
    assert ids == [use[0] for use in record.decision.neighbours[:named]] + [""] * (neighbours - named)
    assert named == neighbours or ROOM - 16 < len(story) <= ROOM or named == 0


def test_a_packed_story_is_packed_the_same_again() -> None:
    """Rounding is done once."""
    record = a_story()
    found = record_of(packed(record), record.id)
    assert record_of(packed(found), record.id).decision.views == found.decision.views


def test_unknown_cost_and_latency_stay_unknown() -> None:
    """They are not 0 after it."""
    record = a_story(3, 0)
    views = tuple(replace(view, cost_usd=None, latency_s=None) for view in record.decision.views)
    record = changed(record, decision=replace(record.decision, views=views))
    found = record_of(packed(record), record.id).decision.views
    assert [(view.cost_usd, view.latency_s) for view in found] == [(None, None)] * 3


def test_the_lesson_of_a_story_is_that_of_its_record() -> None:
    """But for the views: what a rating is learned with is kept beside it."""
    record = a_story()
    lesson = Lesson.of(record)
    assert lesson_of(record.to_json(), record.id) == lesson
    bare = changed(lesson, decision=changed(lesson.decision, views=()))
    assert lesson_of(packed(record), record.id) == bare


def test_what_does_not_fit_into_columns_stays_json() -> None:
    """Nothing is lost by an id that is no UUID."""
    record = a_record(NOW)
    record = changed(record, decision=replace(record.decision, neighbours=(("no uuid", 0.9, ARMS[0], 1.0, 2.0),)))
    assert packed(record) == record.to_json()
    assert record_of(packed(record), record.id) == record


def test_a_large_story_takes_little_more_than_a_kilobyte() -> None:
    """12 models, whose names are in no dictionary, and 50 neighbours, whose ids and scores are random.

    Their scores and all estimates are random, too, which is more than real ones.
    """
    assert max(len(packed(a_story(seed=seed))) for seed in range(20)) < 1130


@pytest.mark.parametrize("story", [b"", b"x", packed(a_story())[:-20], packed(a_story())[:6] + b"rubbish"])
def test_a_damaged_story_is_refused(story: bytes) -> None:
    """Never read as something else."""
    with pytest.raises(ValueError, match="cannot be read"):
        record_of(story, "x")
