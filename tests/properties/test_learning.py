"""Laws of learning: from contributions to posterior."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bandit.arms import Arm
from shared.bandit.build import build_policy
from shared.bandit.context import EMPTY
from shared.bandit.learning import feedback_sums, outcome_sums
from shared.bandit.policy import BanditSettings
from shared.bandit.posterior import GaussianPosterior
from shared.bandit.stored_sums import parse_sums, weighted_sums
from shared.bandit.sums import LearnedState
from tests.support.values import replace

SCORE = st.floats(0, 1)
ARMS = (Arm("x/a"), Arm("x/b"))
POLICY = build_policy(BanditSettings(min_requests_for_global=0))
OUTCOME = st.builds(
    outcome_sums,
    cost_usd=st.one_of(st.none(), st.floats(0, 100)),
    latency_s=st.floats(0, 600),
    prompt_tokens=st.integers(0, 10**6),
    completion_tokens=st.integers(0, 10**6),
    kind=st.one_of(st.none(), st.tuples(st.integers(0, 3), st.integers(0, 7))),
)
FEEDBACK = st.builds(
    feedback_sums,
    score=SCORE,
    view=st.none(),
    kind=st.one_of(st.none(), st.tuples(st.integers(0, 3), st.integers(0, 7))),
)


def total(contributions: list[dict[str, int]]) -> dict[str, int]:
    """Add contributions up, as HINCRBY does."""
    sums: Counter[str] = Counter()
    for contribution in contributions:
        sums.update(contribution)
    return dict(sums)


def fit(*scores: list[float]) -> GaussianPosterior:
    """Return the posterior after these ratings of each arm."""
    arms = {
        arm.id: weighted_sums([(1.0, total([feedback_sums(score=s, view=None, kind=None) for s in of_arm]))])
        for arm, of_arm in zip(ARMS, scores, strict=False)
    }
    return POLICY.fit(LearnedState("1", arms), ARMS)


@given(st.lists(st.one_of(OUTCOME, FEEDBACK), max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_events_is_irrelevant_and_sums_are_always_valid(
    contributions: list[dict[str, int]], random: object
) -> None:
    """Any order gives the same hash, and what the learner can write is never refused by the reader."""
    straight = total(contributions)
    random.shuffle(contributions)  # type: ignore[attr-defined]
    assert total(contributions) == straight
    assert parse_sums({name: str(value) for name, value in straight.items()}) == straight


@given(st.lists(SCORE, max_size=20), SCORE, SCORE)
def test_a_revised_rating_replaces_the_first(others: list[float], first: float, last: float) -> None:
    """Subtracting the old contribution and adding the new one is as if only the last had come."""
    old, new = (feedback_sums(score=score, view=None, kind=(1, 2)) for score in (first, last))
    base = [feedback_sums(score=score, view=None, kind=(1, 2)) for score in others]
    revised = total([*base, old, {name: -value for name, value in old.items()}, new])
    assert revised == total([*base, new])


@given(st.lists(SCORE, min_size=1, max_size=10), st.integers(1, 20))
def test_more_of_the_same_evidence_never_widens_the_belief(scores: list[float], times: int) -> None:
    """The variance does not grow when the same ratings come again."""
    variances = [fit(scores * k, []).variance[0, 0] for k in range(times + 2)]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(variances))


@given(st.lists(SCORE, max_size=30))
def test_ratings_move_the_mean_towards_them(scores: list[float]) -> None:
    """Top marks raise it, bottom marks lower it."""
    before = fit(scores, []).quality[0, 0]
    assert fit(scores + [1.0] * 10, []).quality[0, 0] >= before - 1e-6
    assert fit(scores + [0.0] * 10, []).quality[0, 0] <= before + 1e-6


@given(SCORE)
def test_many_equal_ratings_settle_the_question(score: float) -> None:
    """The prior is overruled."""
    assert fit([score] * 100, []).quality[0, 0] == pytest.approx(score, abs=0.01)


@given(st.lists(SCORE, max_size=30), st.lists(SCORE, max_size=30), st.integers(0, 2**32 - 1))
def test_greedy_at_rate_zero(of_a: list[float], of_b: list[float], seed: int) -> None:
    """EXPLORATION_RATE 0 serves the arm of the highest mean, with probability 1, whatever the generator."""
    greedy = build_policy(replace(BanditSettings(), exploration_rate=0.0))
    posterior = replace(fit(of_a, of_b), exploration_rate=0.0)
    assert posterior.at(None).draw_sd.max() == 0
    decision = greedy.decide(posterior, EMPTY, [arm.id for arm in ARMS], np.random.default_rng(seed))
    assert decision.arm == ARMS[int(posterior.quality[0].argmax())].id
    assert decision.propensity == 1.0


@given(st.lists(SCORE, max_size=40), st.lists(SCORE, max_size=40), st.integers(0, 2**32 - 1))
def test_logged_propensities_are_those_of_the_decision(of_a: list[float], of_b: list[float], seed: int) -> None:
    """Every decision logs a distribution over the eligible arms."""
    decision = POLICY.decide(fit(of_a, of_b), EMPTY, [arm.id for arm in ARMS], np.random.default_rng(seed))
    assert sum(view.propensity for view in decision.views) == pytest.approx(1.0, abs=1e-6)
    assert decision.propensity == decision.views[0].propensity
