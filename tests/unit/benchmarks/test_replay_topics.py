"""Replays by topic: streams, made-up sets, and figures of right choices."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from benchmarks.replays.figures import row_of, run_of, share_of_topics
from benchmarks.replays.made_up import MADE_UP, PROMPTS, made_up_outcomes, made_up_prompts
from benchmarks.replays.played import Played
from benchmarks.replays.references import REFERENCES, Table
from benchmarks.replays.specialists import MODELS, STRENGTHS, specialist_outcomes
from benchmarks.replays.streams import Condition, Stream, make_stream
from benchmarks.replays.topic_figures import requests_until_right, topic_figures
from benchmarks.replays.topics import OTHER, topics_of
from deploy.simulator.recorded_outcomes import Outcomes

BLOCK, MIXED = 60, 90
CONDITION = Condition("topics", block=BLOCK, mixed=MIXED)


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    """Three topics of a hundred prompts, and two that are too small, but not together."""
    topics = ["a"] * 100 + ["b"] * 100 + ["c"] * 100 + ["tiny"] * 40 + ["small"] * 40
    return specialist_outcomes("set", [f"prompt {i}" for i in range(380)], topics, "clear")


def choices(stream: Stream, right: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Played:
    """Return choices that are right where `right` says so."""
    arms = np.where(right, stream.right.argmax(axis=1), stream.right.argmin(axis=1))
    return Played(arms, np.full(stream.scores.shape, np.nan))


def test_topics_come_in_turn_and_then_mixed(outcomes: Outcomes) -> None:
    """Each large task has its own block; afterwards all come equally often, with new prompts while there are any."""
    stream = make_stream(outcomes, CONDITION, 1)
    blocks = [set(stream.topic[start : start + BLOCK].tolist()) for start in range(0, 3 * BLOCK, BLOCK)]
    assert [len(block) for block in blocks] == [1, 1, 1]
    assert len(set.union(*blocks)) == 3
    assert stream.mixed_from == 3 * BLOCK
    assert len(stream.rows) == 3 * BLOCK + MIXED
    assert set(Counter(stream.topic[stream.mixed_from :].tolist()).values()) == {MIXED // 3}
    assert len(set(stream.rows.tolist())) == len(stream.rows)
    used_up = make_stream(outcomes, Condition("topics", block=BLOCK, mixed=300), 1)
    assert set(Counter(used_up.rows.tolist()).values()) <= {1, 2}
    assert len({int(make_stream(outcomes, CONDITION, seed).topic[0]) for seed in range(10)}) > 1
    assert OTHER not in {stream.topic_names[topic] for topic in set(stream.topic.tolist())}


def test_only_the_largest_topics_are_played(outcomes: Outcomes) -> None:
    """The number of topics is a limit, and a set without two large tasks is refused in words."""
    few = make_stream(outcomes, Condition("topics", block=BLOCK, mixed=10, topics=2), 0)
    assert len(set(few.topic.tolist())) == 2
    with pytest.raises(ValueError, match="at least 150 prompts"):
        make_stream(outcomes, Condition("topics"), 0)


def test_the_right_arm_is_the_best_of_the_topic(outcomes: Outcomes) -> None:
    """It is the specialist; a high weight of cost makes it the cheapest."""
    topics = topics_of(outcomes)
    stream = make_stream(outcomes, CONDITION, 0)
    assert (stream.right.sum(axis=1) == 1).all()
    assert (stream.right.argmax(axis=1) == topics.scores[stream.topic].argmax(axis=1)).all()
    priced = specialist_outcomes("set", outcomes.prompts, outcomes.tasks, "clear", priced=True)
    dear = make_stream(priced, Condition("topics", block=BLOCK, mixed=MIXED, cost_weight=10), 0)
    assert (dear.right.argmax(axis=1) == 0).all()


def test_the_specialist_of_one_topic_falls(outcomes: Outcomes) -> None:
    """After half-way its marks are worse by the fall, in that topic only, and the others become right."""
    condition = Condition("topic-drift", requests=300, block=BLOCK, fall=0.5)
    stream = make_stream(outcomes, condition, 3)
    same = outcomes.scores[stream.rows]
    changed = np.argwhere(stream.scores != same)
    assert (changed[:, 0] >= 150).all()
    assert set(stream.topic[changed[:, 0]].tolist()) == {stream.fallen}
    fallen = int(stream.right[np.flatnonzero(stream.topic == stream.fallen)[0]].argmax())
    assert set(changed[:, 1].tolist()) == {fallen}
    late = np.flatnonzero((stream.topic == stream.fallen) & (np.arange(300) >= 150))
    assert same[late, fallen].mean() - stream.scores[late, fallen].mean() == pytest.approx(0.5, abs=0.2)
    assert stream.right[late, fallen].all()  # 0.9 - 0.5 is as good as the others
    further = make_stream(outcomes, Condition("topic-drift", requests=300, block=BLOCK, fall=0.6), 3)
    assert not further.right[late, fallen].any()
    assert further.right[late].sum(axis=1).tolist() == [len(MODELS) - 1] * len(late)


def test_figures_of_a_player_that_forgets(outcomes: Outcomes) -> None:
    """Right in every block from the tenth request on; in the mixed phase, right in all topics but one."""
    stream = make_stream(outcomes, CONDITION, 5)
    t = np.arange(len(stream.rows))
    forgotten = int(stream.topic[0])
    right = np.where(t < stream.mixed_from, t % BLOCK >= 10, stream.topic != forgotten)
    figures = topic_figures(choices(stream, right).arms, stream, 0.0)
    assert figures.arrival == pytest.approx(50 / 60)
    assert figures.mixed == pytest.approx(2 / 3)
    assert figures.worst == 0
    assert figures.worst_forgetting == 1
    assert figures.forgetting == pytest.approx(1 / 3)
    assert figures.learned == figures.slowest == 26
    assert figures.unlearned == 0
    assert figures.by_topic[stream.topic_names[forgotten]] == 0
    assert figures.fall is None


def test_figures_of_a_fall(outcomes: Outcomes) -> None:
    """A player that goes on with the fallen specialist loses what the others are better."""
    stream = make_stream(outcomes, Condition("topic-drift", requests=600, block=BLOCK), 3)
    before = make_stream(outcomes, Condition("topic-drift", requests=600, block=BLOCK, fall=0), 3)
    figures = topic_figures(before.right.argmax(axis=1), stream, 0.0).fall
    assert figures is not None
    assert (figures.before, figures.after, figures.end) == (1, 0, 0)
    assert (figures.others_before, figures.others_after) == (1, 1)
    assert figures.lost == pytest.approx(100, abs=80)
    late = (stream.topic == stream.fallen) & (np.arange(600) >= 300)
    elsewhere = topic_figures(np.where(late, stream.right.argmax(axis=1), 4), stream, 0.0).fall
    assert elsewhere is not None
    assert elsewhere.lost == 0
    best = topic_figures(stream.right.argmax(axis=1), stream, 0.0).fall
    assert best is not None
    assert (best.after, best.learned, best.lost) == (1, 20, 0)


def test_a_topic_is_learned_when_four_of_five_are_right() -> None:
    """Counted from the topic's first request; a topic that never gets there counts with all its requests."""
    assert requests_until_right(np.array([False] * 30 + [True] * 30)) == (46, True)
    assert requests_until_right(np.array([True] * 20)) == (20, True)
    assert requests_until_right(np.array([True, True, False] * 20)) == (60, False)
    assert requests_until_right(np.array([True] * 5)) == (5, False)


def test_the_share_of_full_information(outcomes: Outcomes) -> None:
    """1 for the right arm of each topic, 0 for the best fixed arm, in between for a player that is right by half."""
    streams = [make_stream(outcomes, CONDITION, seed) for seed in range(4)]
    known = [run_of(choices(stream, np.ones(len(stream.rows), bool)), stream, 0.0) for stream in streams]
    fixed = []
    for stream in streams:
        arm = int(stream.scores.mean(axis=0).argmax())
        fixed.append(run_of(Played(np.full(len(stream.rows), arm), stream.scores * np.nan), stream, 0.0))
    half = [run_of(choices(stream, np.arange(len(stream.rows)) % 2 == 0), stream, 0.0) for stream in streams]
    shares = [share_of_topics(runs) for runs in (known, fixed, half)]
    assert [share and share.mean for share in shares[:2]] == pytest.approx([1, 0])
    assert [share and share.half for share in shares[:2]] == pytest.approx([0, 0])
    assert shares[2] is not None
    assert 0.1 < shares[2].mean < 0.9
    row = row_of("half", half, None, known)
    assert row.share_of_gap == row.share_of_topics == shares[2]


def test_full_information_by_topic_is_always_right(outcomes: Outcomes) -> None:
    """It is the reference that the share is measured by."""
    stream = make_stream(outcomes, Condition("topic-drift", requests=200, block=BLOCK), 1)
    table = Table(stream, np.zeros((200, 2), dtype=np.float32), CONDITION, np.random.default_rng(0))
    run = run_of(REFERENCES["topic-full-information"](table).play(), stream, 0.0)
    assert (run.topics.mixed, run.topics.worst) == (1, 1)
    assert run.utility.mean() == run.best_by_topic


def test_a_run_can_be_written_as_json(outcomes: Outcomes) -> None:
    """With utility, what it is compared with, and the figures by topic."""
    stream = make_stream(outcomes, CONDITION, 0)
    written = json.loads(json.dumps(run_of(choices(stream, stream.topic == 0), stream, 0.0).as_json()))
    assert written["best_by_topic"] > written["utility"]
    assert set(written["topics"]["by_topic"]) == {"a", "b", "c"}


@pytest.mark.parametrize("name", MADE_UP)
def test_made_up_sets_have_exact_specialists(name: str) -> None:
    """Several hundred different prompts of eight topics; in each, one of five models is better by what is said."""
    outcomes = made_up_outcomes(name)
    right, other = STRENGTHS[MADE_UP[name].strength]
    assert len(set(outcomes.prompts)) == len(outcomes) == 8 * PROMPTS
    topics = topics_of(outcomes)
    assert len(topics.names) == 8
    assert np.sort(topics.scores, axis=1) == pytest.approx(np.tile([other] * 4 + [right], (8, 1)))
    owners = Counter(topics.scores.argmax(axis=1).tolist())
    assert sorted(owners.values()) == [1, 1, 2, 2, 2]
    assert (len(set(outcomes.costs.mean(axis=0).tolist())) == 5) == MADE_UP[name].priced


def test_made_up_prompts_are_the_same_every_time() -> None:
    """The same seed gives the same prompts, another gives others; no slot is left open; English can be all there is."""
    one, same, other = (made_up_prompts(50, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one.prompts != other.prompts
    assert not [prompt for prompt in one.prompts if "{" in prompt]
    assert set(one.system_prompts) == set(one.topics)
    german = [prompt for prompt in made_up_prompts(english=1.0).prompts if "Schreibe" in prompt]
    assert not german
    assert [prompt for prompt in made_up_prompts().prompts if "Schreibe" in prompt]
