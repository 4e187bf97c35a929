"""How widely to draw, and kinds of prompt."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from shared.bandit.clusters import CLUSTERS, fit_centroids, refit_due

from shared.bandit.arms import Arm
from shared.bandit.build import build_policy
from shared.bandit.context import Context
from shared.bandit.exploration import draw_sd
from shared.bandit.policy import BanditSettings
from shared.bandit.sums import ArmSums, LearnedState, Sums
from tests.support.bandit_worlds import A, B, generator

VARIANCE = np.array([0.01, 0.04])
SOME = np.array([10.0, 10.0])


def test_a_try_is_worth_what_it_brings() -> None:
    """The larger the share of rated requests, the wider the draws, in proportion to the posterior's spread."""
    by_share = [draw_sd(VARIANCE, SOME, requests, 0.1)[0] for requests in (1000, 100, 50, 20)]
    assert all((later > earlier).all() for earlier, later in pairwise(by_share))
    for sd in by_share:
        assert sd[1] == pytest.approx(2 * sd[0])


def test_an_arm_with_few_ratings_is_drawn_more_widely() -> None:
    """A few unlucky ratings lock nobody out."""
    new, known = draw_sd(np.array([0.01, 0.01]), np.array([1.0, 200.0]), 201, 0.1)[0]
    assert new > 2 * known


def test_rate_zero_is_greedy_and_the_cluster_widens_less_than_the_arm() -> None:
    """EXPLORATION_RATE scales by its root; what only the cluster leaves open is damped."""
    assert not draw_sd(VARIANCE, SOME, 20, 0.0).any()
    once, four = draw_sd(VARIANCE, SOME, 20, 0.1), draw_sd(VARIANCE, SOME, 20, 0.4)
    assert four == pytest.approx(2 * once)
    by_cluster = draw_sd(VARIANCE, SOME, 20, 0.1, extra=np.array([[0.0, 0.0], [0.04, 0.04]]))
    assert by_cluster[0] == pytest.approx(once[0])
    assert (by_cluster[1] > once[0]).all()
    assert by_cluster[1, 0] < draw_sd(VARIANCE + 0.04, SOME, 20, 0.1)[0, 0]


def test_clusters_are_the_kinds_of_prompt() -> None:
    """Separate groups of vectors end in separate clusters, and nothing is random but the generator."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.eye(16, dtype=np.float32)[:CLUSTERS], 20, axis=0)
    vectors = groups + 0.05 * rng.standard_normal(groups.shape).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    fitted = fit_centroids(vectors, epoch=3, rng=np.random.default_rng(1))
    nearest = (vectors @ fitted.centres.T).argmax(axis=1).reshape(CLUSTERS, 20)
    assert (nearest == nearest[:, :1]).all()
    assert len(set(nearest[:, 0].tolist())) == CLUSTERS
    assert fitted.epoch == 3
    assert np.linalg.norm(fitted.centres, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert (fit_centroids(vectors, epoch=3, rng=np.random.default_rng(1)).centres == fitted.centres).all()


def test_clusters_are_fitted_anew_once_for_each_step_of_the_traffic() -> None:
    """However far it has grown between two looks, and never again after the last."""
    assert [refit_due(0, requests) for requests in (0, 49, 50, 5000)] == [False, False, True, True]
    assert [refit_due(60, requests) for requests in (60, 199, 200, 900)] == [False, False, True, True]
    assert not refit_due(800, 10**9)


def test_few_different_prompts_make_few_clusters() -> None:
    """The same prompt over and over is one kind."""
    same = np.tile(np.eye(4, dtype=np.float32)[:1], (30, 1))
    assert len(fit_centroids(same, epoch=1, rng=np.random.default_rng(0)).centres) == 1


def test_the_policy_serves_each_kind_of_prompt_its_arm() -> None:
    """Arms that swap places between two kinds of prompt are each chosen where they are good."""
    vectors = np.repeat(np.eye(4, dtype=np.float32)[:2], 30, axis=0)
    centroids = fit_centroids(vectors, epoch=2, rng=np.random.default_rng(0))

    def rated(n: int, score: float) -> Sums:
        return Sums(labels=n, score=n * score, score_sq=n * score, requests=n)

    def arm(first: float, second: float) -> ArmSums:
        kinds = [int((centroids.centres @ axis).argmax()) for axis in np.eye(4, dtype=np.float32)[:2]]
        total = Sums(labels=200, score=100 * (first + second), score_sq=100 * (first + second), requests=200)
        return ArmSums(total, {(2, kinds[0]): rated(100, first), (2, kinds[1]): rated(100, second)})

    state = LearnedState("1", {A: arm(0.9, 0.4), B: arm(0.4, 0.9)}, centroids)
    policy = build_policy(BanditSettings())
    posterior = policy.fit(state, (Arm(A), Arm(B)))
    chosen = [policy.decide(posterior, Context(v), [A, B], generator(1)).arm for v in (vectors[0], vectors[-1])]
    assert chosen == [A, B]
    old = LearnedState("1", {name: ArmSums(sums.total) for name, sums in state.arms.items()}, centroids)
    forgotten = policy.fit(old, (Arm(A), Arm(B)))
    assert forgotten.quality[1] == pytest.approx(forgotten.quality[2], abs=0.05)
