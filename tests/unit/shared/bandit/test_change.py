"""Change detection: an arm that has become worse is noticed, over all prompts or in one kind; others are left alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.bandit.assigner import Assigner
from shared.bandit.build import build_policy
from shared.bandit.change import FEWEST_NEARBY, KEPT, LARGEST_UNKNOWN, block_of, find_break, rating_sd
from shared.bandit.context import Context
from shared.bandit.decision import ArmView
from shared.bandit.kinds import KindId, no_kinds
from shared.bandit.kinship import kinship
from shared.bandit.learning import feedback_sums
from shared.bandit.mixed_thompson import NEARBY
from shared.bandit.policy import BanditSettings, Policy
from shared.bandit.posterior import GaussianPosterior
from shared.bandit.stored_sums import parse_sums, weighted_sums
from shared.bandit.sums import ArmSums, Block, LearnedState
from shared.bandit.traits import EXTRA_DIMENSION, assign
from tests.support.bandit_worlds import ARMS, A, B, C, by_kind, generator, kinds_at, rated, unit
from tests.support.values import replace

NOISE_SD = 0.45
POLICY = build_policy(BanditSettings())


@dataclass(frozen=True)
class Phase:
    """So many 0/1 ratings at a rate, where something was expected with some sd, on prompts of one kind."""

    count: int
    rate: float
    expected: float = 0.8
    kind: KindId | None = None
    sd: float = NOISE_SD


def ratings(*phases: Phase, seed: int = 0) -> ArmSums:
    """Return what these ratings, one phase after the other, add up to."""
    rng, sums, seen = generator(seed), Counter[str](), 0
    for phase in phases:
        for score in (rng.random(phase.count) < phase.rate).astype(float).tolist():
            at = phase.expected
            view = ArmView(A, at, 0.1, 0.1, at, 0.0, None, None, 0.0, 0.0, 0.8, 0.8, 1.0, float(seen), phase.sd)
            sums.update(feedback_sums(score=score, view=view, kind=phase.kind))
            seen += 1
    return weighted_sums([(1.0, parse_sums({name: str(value) for name, value in sums.items()}))])


def broken(arm: ArmSums) -> bool:
    """Return whether a break is seen over all prompts."""
    return find_break(arm.blocks, arm.total.labels, arm.total.score) is not None


def test_a_fall_is_seen_within_a_hundred_ratings() -> None:
    """An arm that falls by two fifths after 500 ratings has a break 100 ratings later, whatever the luck."""
    assert all(broken(ratings(Phase(500, 0.8), Phase(100, 0.4), seed=seed)) for seed in range(30))


def test_luck_is_no_break() -> None:
    """As long as ratings are what was expected, hardly ever is a break seen among a thousand."""
    assert sum(broken(ratings(Phase(1000, 0.8), seed=seed)) for seed in range(100)) <= 3


def test_a_beginning_that_disappoints_is_no_break() -> None:
    """An arm that was never as good as the optimistic prior has not changed."""
    assert not broken(ratings(Phase(40, 0.3)))


def test_evidence_of_before_weighs_a_tenth_and_the_level_is_the_new_one() -> None:
    """After a break the mean is that of the ratings since, with a tenth of the older ones."""
    arm = ratings(Phase(800, 0.8), Phase(60, 0.4), Phase(140, 0.4, expected=0.45), seed=2)
    found = find_break(arm.blocks, arm.total.labels, arm.total.score)
    assert found is not None
    since = (found.kept - KEPT) * 1000 / (1 - KEPT)
    assert since == pytest.approx(200, abs=0.1 * 832)  # one block more or less
    assert arm.total.score / 1000 + found.shift == pytest.approx((200 * 0.4 + 80 * 0.8) / 280, abs=0.08)


def test_a_break_stays_when_the_arm_has_settled_at_its_new_level() -> None:
    """What was seen once is seen again in later fits: the log of what had been expected does not change."""
    fallen = ratings(Phase(500, 0.8), Phase(100, 0.4)).blocks
    settled = tuple(Block(1.0, 100, 40.0, 0.0, 100) for _ in range(5))
    assert find_break((*fallen, *settled), 1100, 640.0) is not None


def test_blocks_are_few_and_in_order() -> None:
    """A million ratings take about a hundred blocks, and a later rating never comes into an earlier block."""
    at = [block_of(float(n)) for n in range(0, 1_000_000, 97)]
    assert at == sorted(at)
    assert at[-1] < 120


def test_days_keep_their_order() -> None:
    """Blocks of an older day come first, whatever order the days are read in, and weigh what recency leaves."""
    days = [(0.5, {"labels~7": 3, "score_micro~7": 3, "surprise_micro~7": -1}), (1.0, {"labels~2": 4})]
    assert weighted_sums(days).blocks == weighted_sums(reversed(days)).blocks
    assert [(block.weight, block.labels) for block in weighted_sums(days).blocks] == [(0.5, 3), (1.0, 4)]


def expected(state: LearnedState) -> NDArray[np.float64]:
    """Return the quality that the product expects of each arm over all traffic."""
    return np.asarray(POLICY.fit(state, ARMS).quality[0])


def test_the_policy_leaves_an_arm_that_has_become_worse() -> None:
    """The favourite of a thousand ratings falls behind the second after some bad ones; without a break it stays."""
    fallen = ratings(Phase(1000, 0.8), Phase(150, 0.3), seed=1)
    others = {B: ArmSums(rated(*[0.7] * 90)), C: ArmSums(rated(*[0.4] * 30))}
    noticed = expected(LearnedState("1", {A: fallen, **others}))
    unnoticed = expected(LearnedState("1", {A: ArmSums(fallen.total), **others}))
    assert noticed[1] > noticed[0]
    assert unnoticed[0] > unnoticed[1]


def test_what_kinds_of_prompt_say_of_each_other_stays() -> None:
    """A break moves an arm on all kinds of prompt alike: where it was strong, it still is its strongest."""
    strong, weak = (1, 0), (1, 1)
    before = (Phase(400, 0.9, 0.9, strong), Phase(400, 0.5, 0.5, weak))
    after = (Phase(60, 0.6, 0.9, strong), Phase(60, 0.2, 0.5, weak))
    other = ratings(Phase(200, 0.7, 0.7, strong), Phase(200, 0.7, 0.7, weak))
    fits = [
        POLICY.fit(LearnedState("1", {A: ratings(*phases), B: other}, kinds_at((1, 0), (0, 1))), ARMS[:2])
        for phases in (before, (*before, *after))
    ]
    assert all(fit.quality[2, 0] > fit.quality[3, 0] + 0.2 for fit in fits)
    assert fits[1].kept[0] < 1 == fits[0].kept[0]
    assert fits[1].quality[0, 0] < fits[0].quality[0, 0] - 0.1


def test_a_surprise_counts_in_sds_of_the_prediction_and_only_where_little_was_unknown() -> None:
    """A wide belief is no prediction: what it gets wrong is no evidence of a change."""
    assert rating_sd(0.2, 0.01, FEWEST_NEARBY) == pytest.approx(0.21**0.5)
    assert rating_sd(0.2, 0.01, FEWEST_NEARBY - 0.1) == 0.0
    assert rating_sd(0.2, LARGEST_UNKNOWN * 0.2, 1000.0) == 0.0
    narrow, wide = ratings(Phase(1, 0.0, sd=0.5)), ratings(Phase(1, 0.0, sd=0.0))
    assert [block.surprises for block in narrow.blocks] == [1]
    assert narrow.blocks[0].surprise == pytest.approx(-1.6)
    assert [(block.labels, block.surprise, block.surprises) for block in wide.blocks] == [(1, 0, 0)]
    assert not broken(ratings(Phase(200, 0.8), Phase(300, 0.2, sd=0.0)))


def test_old_residuals_are_read_as_surprises() -> None:
    """Blocks of before carry a residual in units of the score, and no count: every rating was one."""
    (block,) = weighted_sums(
        [(1.0, {"labels": 9, "labels~3": 9, "score_micro~3": 3 * 10**6, "residual_micro~3": -7 * 10**5})]
    ).blocks
    assert (block.labels, block.surprises) == (9, 9)
    assert block.surprise == pytest.approx(-2.0)


KINDS = kinds_at((1, 0, 0, 0, 0), (0.75, 0.66, 0, 0, 0), (0, 0, 1, 0, 0), (0, 0, 0, 1, 0), (0, 0, 0, 0, 1))
"""Kinds 0 and 1 are similar, each other kind is like none."""


def fitted(arm: ArmSums, *, merged: Mapping[int, int] | None = None) -> GaussianPosterior:
    """Return what the policy believes where A has these ratings, and B some of each kind."""
    others = {B: by_kind(*[rated(*[0.6] * 100)] * 5)}
    return POLICY.fit(LearnedState("1", {A: arm, **others}, replace(KINDS, merged=merged or {})), ARMS[:2])


def labels_left(arm: ArmSums, *, merged: Mapping[int, int] | None = None) -> list[float]:
    """Return the share of the ratings of A that counts in each of the first three kinds, as the policy fits it."""
    unwatched = replace(arm, blocks=(), kind_blocks={})
    nearby = kinship(KINDS.centres.astype(float), KINDS.counts) ** NEARBY
    left, before = (
        np.linalg.solve(nearby, fitted(one, merged=merged).arm_labels_nearby[:, 0])[:3] for one in (arm, unwatched)
    )
    return [float(share) for share in left / before]


def test_a_fall_in_one_kind_is_seen_in_it_and_in_kinds_like_it_alone() -> None:
    """Evidence there fades; in a kind unlike it nothing does, and over all prompts there is no break."""
    before = [Phase(150, 0.8, kind=(1, kind)) for kind in (0, 1, 2)]
    for seed in range(6):
        arm = ratings(*before, *[Phase(1, 0.2, kind=(1, 0)), Phase(19, 0.8, kind=(1, 2))] * 60, seed=seed)
        assert not broken(arm)
        fallen, alike, unlike = labels_left(arm)
        assert fallen < 0.6
        assert alike == pytest.approx(fallen, abs=1e-6)
        assert unlike == pytest.approx(1.0)
    assert labels_left(ratings(*before, *before)) == pytest.approx([1, 1, 1])


def test_a_fall_in_similar_kinds_together_is_seen() -> None:
    """Each of two similar kinds has too few bad ratings for an alarm of its own; both together have enough."""
    before = [Phase(150, 0.8, kind=(1, kind)) for kind in (0, 1, 2)]
    bad = Phase(1, 0.0, kind=(1, 0)), Phase(1, 0.0, kind=(1, 1)), Phase(38, 0.8, kind=(1, 2))
    arm = ratings(*before, *bad * 6, seed=1)
    for kind in (0, 1):
        assert find_break(arm.kind_blocks[1, kind], arm.kinds[1, kind].labels, arm.kinds[1, kind].score) is None
    assert [share < 0.9 for share in labels_left(arm)] == [True, True, False]


@pytest.mark.parametrize("fallen", [(0, 1), (2,)])
def test_a_fall_in_one_region_alone_is_no_general_one(fallen: tuple[int, ...]) -> None:
    """Bad ratings there are an alarm over all prompts; without that region they are none, so that others keep theirs.

    It may be a new topic that was taken for one of the known.
    """
    before = [Phase(150, 0.8, kind=(1, kind)) for kind in (0, 1, 2)]
    arm = ratings(*before, *[Phase(3, 0.2, kind=(1, kind)) for kind in fallen] * 20)
    assert broken(arm)
    assert fitted(arm).kept[0] == 1.0
    left = labels_left(arm)
    assert [share < 0.6 for share in left] == [kind in fallen for kind in range(3)]
    assert [left[kind] for kind in range(3) if kind not in fallen] == pytest.approx([1.0] * (3 - len(fallen)))


def test_bad_ratings_of_several_new_kinds_are_no_general_fall() -> None:
    """The arm had no ratings of these kinds before: what was expected of it there came from other kinds."""
    arm = ratings(Phase(300, 0.8, kind=(1, 0)), *[Phase(5, 0.0, kind=(1, kind)) for kind in (2, 3, 4)] * 3)
    assert broken(arm)
    assert fitted(arm).kept[0] == 1.0
    assert labels_left(arm)[0] == pytest.approx(1.0)


def test_a_fall_everywhere_is_a_general_one() -> None:
    """Whichever region is left out, it is seen: kinds that have no rating since are believed to be worse, too."""
    before = [Phase(150, 0.8, kind=(1, kind)) for kind in (0, 1, 2, 3, 4)]
    arm = ratings(*before, *[Phase(3, 0.2, kind=(1, kind)) for kind in (2, 3, 4)] * 15)
    steady, broke = fitted(ratings(*before)), fitted(arm)
    assert broke.kept[0] < 0.5
    assert (broke.quality[2:4, 0] < steady.quality[2:4, 0] - 0.1).all()


def test_a_general_fall_is_no_excuse_for_a_later_one_in_one_region() -> None:
    """After an alarm the sums start anew, with and without each region: the next one has to be general as well."""
    before = [Phase(100, 0.8, kind=(1, kind)) for kind in (0, 2, 3)]
    general = [Phase(3, 0.2, kind=(1, kind)) for kind in (0, 2, 3)] * 15
    settled = [Phase(4, 0.2, 0.2, kind=(1, kind)) for kind in (0, 2, 3)] * 5
    once = ratings(*before, *general, *settled)
    twice = ratings(*before, *general, *settled, Phase(60, 0.0, 0.5, kind=(1, 2)))
    assert fitted(twice).kept[0] > fitted(once).kept[0]


def test_blocks_of_merged_kinds_are_read_in_order_of_time() -> None:
    """A fall before two kinds were merged, or after it, is found in the kind they became: the ids do not matter."""
    before, fall, settled = Phase(60, 0.8), Phase(25, 0.2), Phase(60, 0.2, expected=0.2)
    story = [before, before, fall, settled, settled]
    rest = [Phase(10, 0.8, kind=(1, 1)), Phase(400, 0.8, kind=(1, 2))]
    for ids in ((0, 0, 0, 0, 0), (0, 7, 0, 0, 0), (7, 0, 7, 7, 0), (7, 7, 7, 0, 0), (0, 7, 7, 0, 7)):
        phases = [replace(phase, kind=(1, kind)) for phase, kind in zip(story, ids, strict=True)]
        fallen, _, unlike = labels_left(ratings(*rest, *phases), merged={7: 0})
        assert fallen == pytest.approx((145 + 0.1 * 120) / 265, abs=0.1)
        assert unlike == pytest.approx(1.0)


TOPICS = (unit(1, 0, 0, 0), unit(0, 1, 0, 0))


def play(
    requests: Sequence[tuple[int | None, float]], seed: int, policy: Policy[GaussianPosterior] = POLICY
) -> ArmSums:
    """Return what is learned of A where it answers these requests, (topic, rate of 1 among its ratings), and is fitted
    every ten ratings; B always gets .6. Requests of topic None have no vector.
    """
    rng, sums, assigner = generator(seed), Counter[str](), Assigner(no_kinds(4 + EXTRA_DIMENSION))
    kinds, arm, posterior = assigner.kinds, ArmSums(), policy.fit(LearnedState("0", {}), ARMS[:2])
    for at, (topic, rate) in enumerate(requests):
        if at % 10 == 0:
            other = {B: by_kind(*[rated(*[0.6] * (at // 4))] * len(kinds.ids))} if kinds.ids else {}
            posterior = policy.fit(LearnedState(str(at), {A: arm, **other}, kinds if kinds.ids else None), ARMS[:2])
        vector = None if topic is None else TOPICS[topic]
        view = policy.decide(posterior, Context(vector), [A], rng).view(A)
        kind = None if vector is None else (1, assign(assigner, vector, ()))
        sums.update(feedback_sums(score=float(rng.random() < rate), view=view, kind=kind))
        kinds = assigner.kinds
        arm = weighted_sums([(1.0, parse_sums({name: str(value) for name, value in sums.items()}))])
    return arm


def test_a_new_topic_without_vectors_is_no_alarm() -> None:
    """The embedder is away when it comes: where there are kinds, a prompt without one is no evidence of a change."""
    for seed in range(3):
        assert not broken(play([(0, 0.9)] * 150 + [(None, 0.3)] * 100, seed))
    assert any(broken(play([(None, 0.9)] * 150 + [(None, 0.3)] * 100, seed)) for seed in range(3))


def test_a_new_topic_where_an_arm_is_bad_is_no_alarm() -> None:
    """An arm of .9 on one topic, then of .3 on a new one: no break, neither over all prompts nor in a kind."""
    for seed in range(3):
        arm = play([(0, 0.9)] * 200 + [(1, 0.3)] * 200, seed)
        assert not broken(arm)
        for kind, blocks in arm.kind_blocks.items():
            assert find_break(blocks, arm.kinds[kind].labels, arm.kinds[kind].score) is None


def test_a_fall_on_known_topics_is_an_alarm() -> None:
    """The same arm falls on the topics that are known: the break is seen, with beliefs fitted on the way."""
    for seed in range(3):
        assert broken(play([(at % 2, 0.9) for at in range(200)] + [(at % 2, 0.4) for at in range(150)], seed))
