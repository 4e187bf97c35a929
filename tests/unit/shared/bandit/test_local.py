"""Local evidence: which similar requests shift an arm's quality."""

from __future__ import annotations

import pytest

from shared.bandit.context import Neighbour
from shared.bandit.local import LEAST_SHARE, PSEUDO_WEIGHT, local_evidence
from shared.bandit.policy import BanditSettings

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
