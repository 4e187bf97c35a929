"""Similarity of kinds: a covariance, and closer within a topic than its cosines say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.bandit.kinds import unit_rows
from shared.bandit.kinship import kinship
from tests.support.kinds import some_kinds


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 64), st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_it_is_a_covariance(kinds: int, dimension: int, seed: int) -> None:
    """Symmetric, 1 for a kind with itself, between 0 and 1, and no combination of kinds has a negative variance."""
    rng = np.random.default_rng(seed)
    similarity = kinship(unit_rows(rng.normal(size=(kinds, dimension))), rng.integers(1, 500, kinds).astype(float))
    assert similarity.shape == (kinds, kinds)
    assert similarity == pytest.approx(similarity.T)
    assert np.diag(similarity) == pytest.approx(1.0)
    if kinds:
        assert similarity.min() >= 0
        assert similarity.max() <= 1 + 1e-9
        assert np.linalg.eigvalsh(similarity).min() > -1e-9


def test_kinds_of_one_topic_are_closer_than_their_cosines_say() -> None:
    """Three topics of eight kinds each: grouping tells them apart, and the order of the kinds does not matter."""
    rng = np.random.default_rng(1)
    topics = np.repeat(np.eye(24)[:3] * 1.2, 8, axis=0)
    centres = unit_rows(topics + rng.normal(size=(24, 24)) * 0.25)
    counts = rng.integers(5, 50, 24).astype(float)
    similarity = kinship(centres, counts)
    own = np.repeat(np.arange(3), 8)
    inside = (own[:, None] == own) & ~np.eye(24, dtype=bool)
    outside = own[:, None] != own
    assert similarity[inside].mean() > 2 * similarity[outside].mean()
    order = rng.permutation(24)
    assert kinship(centres[order], counts[order]) == pytest.approx(similarity[np.ix_(order, order)])


def test_it_follows_from_kinds_as_they_are_assigned() -> None:
    """With all kinds in use it takes milliseconds and stays a covariance."""
    kinds = some_kinds(800, 24)
    similarity = kinship(kinds.centres.astype(float), kinds.counts)
    assert np.linalg.eigvalsh(similarity).min() > -1e-6
