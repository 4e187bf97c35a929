"""Evidence of several sources: the exact posterior of its model, bounded, and overruled by users."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.bandit import evidence
from shared.bandit.evidence import SourceCells, noise_variance, pool
from shared.bandit.sources import Source

Floats = NDArray[np.float64]


def scores(source: Source, labels: Floats, means: Floats) -> SourceCells:
    """Return 0/1 scores with these counts and means."""
    return SourceCells(source, labels, labels * means, (labels * means).sum(axis=1))


def users(labels: Floats, means: Floats) -> SourceCells:
    """Return the same of users."""
    return scores(Source.USER, labels, means)


def many(value: float, arms: int = 3) -> Floats:
    """Return the same number for each of two kinds of prompt."""
    return np.full((arms, 2), value)


def test_before_any_score_the_noise_is_the_square_of_its_prior() -> None:
    """A standard deviation goes in, a variance comes out; scores that agree make it smaller, never zero."""
    nothing = users(np.zeros((2, 3)), np.zeros((2, 3)))
    assert noise_variance(nothing) == pytest.approx(evidence.NOISE_SD**2)
    agreed = noise_variance(users(np.full((2, 3), 1000.0), np.ones((2, 3))))
    assert (agreed > 0).all()
    assert (agreed < evidence.NOISE_SD**2 / 10).all()


def test_the_bias_of_a_source_is_integrated_out_exactly() -> None:
    """The precision of the cells is that of conditioning on every source's means with the bias as a variable."""
    rng = np.random.default_rng(3)
    labels = rng.integers(1, 9, (4, 3)).astype(float)
    rated = users(rng.integers(0, 2, (4, 3)) * labels, rng.uniform(0.2, 0.9, (4, 3)))
    judged = scores(Source.JUDGE, labels, rng.uniform(0.2, 0.9, (4, 3)))
    found = pool(rated, [judged])
    (fit,) = found.sources
    noise, judge_noise = noise_variance(rated), noise_variance(judged)
    for arm in range(4):
        of_users = np.diag(rated.labels[arm] / noise[arm])
        of_judge = np.linalg.inv(np.diag(judge_noise[arm] / labels[arm]) + fit.bias_sd**2)
        assert found.precision[arm] == pytest.approx(of_users + of_judge)
        means = judged.scores[arm] / labels[arm] - fit.shift
        assert found.information[arm] == pytest.approx(rated.scores[arm] / noise[arm] + of_judge @ means)


def test_without_users_a_source_is_believed_as_expected() -> None:
    """Shift 0, the expected bias; an arm as a whole never weighs more than the inverse of that bias squared."""
    found = pool(users(many(0), many(0)), [scores(Source.JUDGE, many(1e6), many(0.7))])
    (fit,) = found.sources
    assert fit.shift == 0
    expected = evidence.EXPECTED_BIAS[Source.JUDGE]
    assert expected < fit.bias_sd < 1.3 * expected
    assert np.isnan(fit.differences).all()
    assert found.precision.sum(axis=(1, 2)) == pytest.approx(1 / fit.bias_sd**2, rel=1e-3)


def test_a_source_that_scores_all_arms_higher_is_shifted_not_biased() -> None:
    """The same difference for all arms is a shift: the scores are moved, and go on counting."""
    means = np.array([[0.2, 0.3], [0.5, 0.4], [0.6, 0.7]])
    (fit,) = pool(users(many(400), means), [scores(Source.JUDGE, many(400), means + 0.2)]).sources
    assert fit.shift == pytest.approx(0.2, abs=0.02)
    assert fit.bias_sd < 0.06


def test_a_source_that_contradicts_users_loses_its_weight() -> None:
    """A judge that always says 1 tells nothing of arms that users tell apart: its bias grows, its evidence fades."""
    means = np.array([[0.2, 0.2], [0.5, 0.5], [0.8, 0.8]])
    always = scores(Source.JUDGE, many(400), many(1.0))
    few, plenty = (pool(users(many(each), means), [always]).sources[0].bias_sd for each in (2, 200))
    assert few < plenty
    assert plenty > 0.2


def test_a_source_that_scores_all_answers_alike_says_little_of_arms() -> None:
    """Without users, too: it may be as wrong as arms differ. One whose scores vary as little as .2 is believed."""

    def judged(sd: float) -> SourceCells:
        labels, means = many(100), many(0.9)
        return SourceCells(Source.JUDGE, labels, labels * means, (labels * (means**2 + sd**2)).sum(axis=1))

    unrated = users(many(0), many(0))
    alike, varied = (pool(unrated, [judged(sd)]) for sd in (0.0, 0.2))
    expected = evidence.EXPECTED_BIAS[Source.JUDGE]
    assert expected < varied.sources[0].bias_sd < 1.3 * expected
    assert alike.sources[0].bias_sd > evidence.ARMS_SD
    between_kinds = np.array([1.0, -1.0])
    known = between_kinds @ alike.precision[0] @ between_kinds
    assert known == pytest.approx(200 / evidence.NOISE_SD**2, rel=0.05), "each of its scores counts as a rating does"


def test_differences_are_taken_within_kinds_of_prompt() -> None:
    """Users rated the hard kind, the judge mostly the easy one: that is no difference between them."""
    means = np.array([[0.9, 0.1]] * 3)
    rated, judged = np.array([[5.0, 200.0]] * 3), np.array([[200.0, 5.0]] * 3)
    (fit,) = pool(users(rated, means), [scores(Source.JUDGE, judged, means)]).sources
    assert fit.differences == pytest.approx(np.zeros(3), abs=1e-9)
    assert fit.shift == pytest.approx(0.0, abs=1e-9)
