"""Width of the draws, and bounds of the explored share."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bandit.exploration import (
    SETTLED_LABELS,
    arm_scale,
    bounded,
    draw_sd,
    explored_bounds,
    kind_scale,
    rated_share,
)

VARIANCE = np.array([0.01, 0.04])
NONE = np.zeros(2)
HALF = np.full(2, 0.5)
RATES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def test_a_try_is_worth_what_it_brings() -> None:
    """The larger the share of rated requests, the wider the draws of arms and within a kind."""
    shares = [rated_share(20, requests) for requests in (1000, 100, 50, 20)]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert rated_share(0, 0) == 1.0
    for earlier, later in pairwise(shares):
        assert (arm_scale(np.array([0.0, 50.0]), later) > arm_scale(np.array([0.0, 50.0]), earlier)).all()
        assert (kind_scale(NONE, later) > kind_scale(NONE, earlier)).all()


def test_an_arm_and_a_kind_with_few_ratings_are_drawn_more_widely() -> None:
    """A few unlucky ratings lock no arm out, and a new kind is tried with more of its variance than a known one."""
    new, known = arm_scale(np.array([1.0, 200.0]), 1.0)
    assert new > 2 * known
    new, known = kind_scale(np.array([0.0, 500.0]), 1.0)
    assert new > 2 * known


def test_the_rate_scales_the_draw_by_its_root_and_zero_is_greedy() -> None:
    """What only the kind of prompt leaves open widens the draw less than what the arm itself leaves open."""
    assert not draw_sd(VARIANCE, VARIANCE, HALF, 0.0).any()
    once, four = draw_sd(VARIANCE, NONE, HALF, 0.1), draw_sd(VARIANCE, NONE, HALF, 0.4)
    assert four == pytest.approx(2 * once)
    by_kind = draw_sd(VARIANCE, np.array([0.0, 0.04]), HALF, 0.1)
    assert by_kind[0] == once[0]
    assert once[1] < by_kind[1] < draw_sd(np.array([0.01, 0.08]), NONE, HALF, 0.1)[1]
    assert draw_sd(VARIANCE, -VARIANCE, HALF, 0.1) == pytest.approx(once)


@pytest.mark.parametrize("rate", RATES)
def test_a_new_kind_is_tried_at_least_at_the_rate_and_a_known_one_at_most(rate: float) -> None:
    """The lower bound falls with requests nearby, the upper one with ratings nearby for each arm."""
    assert explored_bounds(rate, 4, 0, 0) == explored_bounds(rate, 4, 0, 1e6) == pytest.approx((rate, 1.0))
    lower = [explored_bounds(rate, 4, requests, 0)[0] for requests in (0, 10, 100, 1000)]
    upper = [explored_bounds(rate, 4, 1e6, labels)[1] for labels in (0, 10, 50, 4 * SETTLED_LABELS, 1e6)]
    assert lower == sorted(lower, reverse=True)
    assert upper == sorted(upper, reverse=True)
    assert lower[-1] < rate / 10
    assert upper[-2:] == pytest.approx([rate, rate])


def test_nothing_is_explored_at_rate_zero_or_with_one_arm() -> None:
    """Both bounds are 0, whatever is known."""
    assert explored_bounds(0.0, 9, 0, 0) == explored_bounds(0.5, 1, 0, 0) == (0.0, 0.0)


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=9).filter(lambda chances: sum(chances) > 0.01),
    st.integers(0, 8),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_bounded_probabilities_are_probabilities_within_the_bounds(
    values: list[float], best: int, one: float, other: float
) -> None:
    """They sum to 1; the explored share is moved to the nearer bound, and within it the others keep their ratios."""
    chances, best = [value / sum(values) for value in values], best % len(values)
    low, high = sorted((one, other))
    found = bounded(chances, best, (low, high))
    assert sum(found) == pytest.approx(1.0)
    assert min(found) >= 0
    explored = 1 - chances[best]
    assert 1 - found[best] == pytest.approx(min(max(explored, low), high), abs=1e-9)
    if explored > 1e-6:
        for i, chance in enumerate(chances):
            if i != best:
                assert found[i] * explored == pytest.approx(chance * (1 - found[best]), abs=1e-9)
