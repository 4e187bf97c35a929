"""Local evidence: which similar requests shift an arm's quality, and which requests search for them."""

from __future__ import annotations

import pytest

from shared.bandit.context import Neighbour
from shared.bandit.local import (
    LEAST_SHARE,
    PSEUDO_WEIGHT,
    SEARCHED_SHARE,
    gate_open,
    local_evidence,
    search_share,
    searches,
)
from shared.bandit.policy import BanditSettings
from shared.bandit.sums import Sums
from tests.support.bandit_worlds import generator

SETTINGS = BanditSettings(similarity_threshold=0.5, min_similar_requests=1)


@pytest.mark.parametrize(("similarity", "moves"), [(0.6, False), (0.66, False), (0.7, True), (0.9, True)])
def test_a_shift_by_requests_that_are_hardly_similar_is_dropped(similarity: float, moves: bool) -> None:
    """One neighbour weighs enough from a cosine of about .68 on; its weight is recorded all the same."""
    found = local_evidence([Neighbour("n", similarity, "a/a", 1.0)], [0.4], {"a/a": 0}, SETTINGS)
    ((*_, weight),) = found.used
    share = weight / (weight + PSEUDO_WEIGHT)
    assert (share >= LEAST_SHARE) is moves
    assert found.shifts == [pytest.approx(share * 0.6) if moves else 0.0]


def test_requests_at_the_threshold_are_not_used() -> None:
    """They have no weight, nor have those below it."""
    neighbours = [Neighbour(f"n{similarity}", similarity, "a/a", 1.0) for similarity in (0.5, 0.4, -1.0)]
    assert local_evidence(neighbours, [0.4], {"a/a": 0}, SETTINGS).used == ()


@pytest.mark.parametrize(("gain", "is_open"), [(0.0, False), (3.0, False), (3.9, False), (4.1, True), (5.9, True)])
def test_the_neighbours_gate_opens_at_two_standard_errors(gain: float, is_open: bool) -> None:
    """Over all arms: here the squares of the gains sum to 4, so that a standard error is 2."""
    parts = [Sums(gain=gain / 2, gain_sq=2.0) for _ in range(2)]
    assert gate_open(parts) is is_open


@pytest.mark.parametrize(
    ("labels", "gain", "share"),
    [
        (0.0, 0.0, SEARCHED_SHARE),  # only rated requests are in the index
        (0.5, 0.0, 1.0),
        (299.0, -9.0, 1.0),
        (300.0, -9.0, SEARCHED_SHARE),
        (300.0, 0.9, SEARCHED_SHARE),
        (300.0, 1.1, 1.0),
        (9e9, 2.1, 1.0),
    ],
)
def test_all_requests_search_until_neighbours_have_been_tried_and_where_they_may_help(
    labels: float, gain: float, share: float
) -> None:
    """With a standard error of 1: a few requests go on searching, so that a change of the traffic is noticed."""
    parts = [Sums(labels=labels / 2, gain=gain / 2, gain_sq=0.5) for _ in range(2)]
    assert search_share(parts) == share


def test_the_share_is_that_of_the_searching_requests() -> None:
    """Drawn for each request alone; with an open gate every request searches, and nothing is drawn."""
    rng = generator()
    drawn = sum(searches(0.25, rng) for _ in range(4000))
    assert abs(drawn - 1000) < 5 * (4000 * 0.25 * 0.75) ** 0.5
    before = rng.bit_generator.state
    assert searches(1.0, rng)
    assert rng.bit_generator.state == before
