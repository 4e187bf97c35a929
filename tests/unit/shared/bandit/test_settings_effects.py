"""No setting is dead: turning each one does what its sentence in the README says."""

from __future__ import annotations

import pytest

from shared.bandit.arms import Arm
from shared.bandit.build import build_policy
from shared.bandit.context import EMPTY, Context, Neighbour
from shared.bandit.decision import Decision, DecisionKind, Weights
from shared.bandit.policy import BanditSettings
from shared.bandit.sums import NOTHING_LEARNED, LearnedState, Sums
from tests.support.bandit_worlds import ARMS, CHEAP, DEAR, A, B, C, generator, rated, state
from tests.support.values import replace

SETTINGS = BanditSettings()
GOOD_A = state({A: rated(*[1, 0.9, 0.8] * 10), B: rated(*[0.6, 0.5, 0.4] * 10), C: rated(*[0.2, 0.1, 0.0] * 10)})


def decide(
    learned: LearnedState,
    context: Context = EMPTY,
    arms: tuple[Arm, ...] = ARMS,
    settings: BanditSettings = SETTINGS,
    seed: int = 0,
) -> Decision:
    policy = build_policy(settings)
    return policy.decide(policy.fit(learned, arms), context, [arm.id for arm in arms], generator(seed))


def chance(decision: Decision, arm: str) -> float:
    view = decision.view(arm)
    assert view is not None
    return view.propensity


def weights(quality: float = 0.0, latency: float = 0.0, cost: float = 0.0) -> BanditSettings:
    return replace(SETTINGS, weights=Weights(quality, latency, cost))


def near(arm: str, score: float, similarity: float = 0.95, n: int = 20) -> Context:
    return Context(None, tuple(Neighbour(f"{arm}-{i}", similarity, arm, score) for i in range(n)))


def gated(learned: LearnedState) -> LearnedState:
    """The same state after neighbours have proven to predict."""
    proof = replace(learned.arms[A].total, gain=50.0, gain_sq=1.0)
    return replace(learned, arms={**learned.arms, A: replace(learned.arms[A], total=proof)})


def test_feedback_weight_turns_ratings_into_preference() -> None:
    """With weight on ratings the better rated arm wins; without, ratings do not matter."""
    assert chance(decide(GOOD_A, settings=weights(quality=1.0)), A) > 0.99
    blind = decide(GOOD_A, settings=weights(latency=1.0))
    assert len({view.utility for view in blind.views}) == 1


def test_latency_weight_prefers_the_faster_arm() -> None:
    """The share of a fast, slightly worse arm grows with LATENCY_WEIGHT."""
    learned = state({A: rated(*[0.8] * 20, latency_s=200.0), B: rated(*[0.75] * 20, latency_s=20.0)})
    by_weight = [chance(decide(learned, arms=ARMS[:2], settings=weights(0.6, w)), B) for w in (0.0, 0.05, 0.5)]
    assert by_weight == sorted(by_weight)
    assert by_weight[0] < 0.2
    assert by_weight[2] > 0.99


def test_cost_weight_prefers_the_cheaper_arm_before_and_after_the_first_request() -> None:
    """List prices count at the start, real costs later; the more negative the weight, the more."""
    arms = (Arm(A, DEAR), Arm(B, CHEAP))
    by_weight = [chance(decide(NOTHING_LEARNED, arms=arms, settings=weights(0.6, 0, w)), B) for w in (0, -0.05, -0.5)]
    assert by_weight == sorted(by_weight)
    assert by_weight[0] < 0.5
    assert by_weight[2] > 0.9
    wrong_list = state({A: Sums(requests=500, cost_usd=0.001), B: Sums(requests=500, cost_usd=5.0)})
    assert chance(decide(wrong_list, arms=arms, settings=weights(0.6, 0, -0.5)), A) > 0.99


def test_exploration_rate_tries_non_optimal_models_more_often() -> None:
    """The second-best arm's share grows with the rate; at 0 the best arm is certain."""
    learned = state({A: rated(*[1, 0.7, 0.4] * 3), B: rated(*[1, 0.5, 0.3] * 3)})
    by_rate = [
        chance(decide(learned, arms=ARMS[:2], settings=replace(SETTINGS, exploration_rate=rate)), B)
        for rate in (0.0, 0.05, 0.1, 0.3, 1.0)
    ]
    assert by_rate == sorted(by_rate)
    assert by_rate[0] == 0.0
    assert decide(learned, settings=replace(SETTINGS, exploration_rate=0.0)).propensity == 1.0


def test_similarity_threshold_decides_which_neighbours_count() -> None:
    """A neighbour below the threshold has no weight; lowering the threshold gives it more."""
    by_threshold = []
    for threshold in (0.5, 0.7, 0.9):
        used = decide(
            GOOD_A, near(B, 1.0, similarity=0.8), settings=replace(SETTINGS, similarity_threshold=threshold)
        ).neighbours
        by_threshold.append(sum(weight for *_, weight in used))
    assert by_threshold[0] > by_threshold[1] > by_threshold[2] == 0.0


def test_max_similar_requests_bounds_how_many_are_considered() -> None:
    """Of the neighbours at most that many are used, the nearest ones; 0 turns similarity off."""
    for most in (0, 3, 100):
        decision = decide(GOOD_A, near(B, 1.0, n=20), settings=replace(SETTINGS, max_similar_requests=most))
        assert len(decision.neighbours) == min(most, 20)


def test_min_similar_requests_is_how_many_are_needed_to_move_the_estimate() -> None:
    """The more neighbours are demanded, the less the same neighbours shift the estimate."""
    shifts = []
    for needed in (0, 5, 50):
        view = decide(
            GOOD_A, near(B, 1.0, similarity=0.85), settings=replace(SETTINGS, min_similar_requests=needed)
        ).view(B)
        assert view is not None
        shifts.append(view.local_shift)
    assert shifts == sorted(shifts, reverse=True)
    assert shifts[0] > 2 * shifts[2] > 0


def test_min_confidence_score_drops_thin_local_evidence() -> None:
    """Neighbours that weigh too little beside MIN_SIMILAR_REQUESTS do not count, and the decision is global."""
    one = near(B, 1.0, n=1)
    lenient = decide(gated(GOOD_A), one, settings=replace(SETTINGS, min_confidence_score=0.0))
    strict = decide(gated(GOOD_A), one, settings=replace(SETTINGS, min_confidence_score=0.5))
    assert lenient.kind is DecisionKind.LOCAL
    assert strict.kind is DecisionKind.GLOBAL
    assert all(view.local_shift == 0 for view in strict.views)


def test_optimistic_prior_is_what_an_untried_arm_is_expected_to_be_worth() -> None:
    """An optimist tries the untried arm beside a mediocre one, a pessimist does not; a few ratings overrule both."""
    learned = state({A: rated(*[0.5, 0.6, 0.4] * 10)})
    high, low = (
        decide(learned, arms=ARMS[:2], settings=replace(SETTINGS, optimistic_prior=prior)) for prior in (0.95, 0.1)
    )
    assert chance(high, B) > 0.7
    assert chance(low, B) < 0.3
    refuted = state({A: rated(*[0.5, 0.6, 0.4] * 10), B: rated(*[0.0] * 12)})
    assert chance(decide(refuted, arms=ARMS[:2], settings=replace(SETTINGS, optimistic_prior=0.95)), B) < 0.5


def test_exploration_bonus_is_how_far_an_untried_arm_may_deviate() -> None:
    """A larger bonus gives an untried arm a larger share beside one that is known to be good."""
    learned = state({A: rated(*[0.9, 0.85, 0.95] * 10), B: rated(*[0.7, 0.65, 0.75] * 10)})
    by_bonus = [
        chance(decide(learned, settings=replace(SETTINGS, exploration_bonus=bonus)), C) for bonus in (0.02, 0.1, 0.3)
    ]
    assert by_bonus == sorted(by_bonus)
    assert by_bonus[2] > by_bonus[0] + 0.1


def test_min_requests_for_global_is_how_many_are_needed_to_trust_an_arms_own_figures() -> None:
    """The fewer are demanded, the nearer the expected cost is to what three requests really cost."""
    learned = state({A: Sums(requests=3, cost_usd=3.0, prompt_tokens=3, completion_tokens=3)})
    costs = []
    for needed in (0, 10, 1000):
        settings = replace(SETTINGS, min_requests_for_global=needed)
        view = decide(learned, arms=(Arm(A, CHEAP), Arm(B, DEAR)), settings=settings).view(A)
        assert view is not None
        assert view.cost_usd is not None
        costs.append(view.cost_usd)
    assert costs == sorted(costs, reverse=True)
    assert costs[0] == pytest.approx(1.0)
    assert costs[2] < 0.01


def test_safe_start_serves_the_default_until_the_evidence_names_a_better_arm() -> None:
    """DEFAULT_MODEL answers everything from cold, then gives way."""
    settings = replace(SETTINGS, safe_start=True, default_arm=B)
    for seed in range(20):
        cold = decide(NOTHING_LEARNED, settings=settings, seed=seed)
        assert (cold.kind, cold.arm, cold.propensity) == (DecisionKind.DEFAULT, B, 1.0)
        assert sorted(cold.ranked) == sorted([A, B, C])
    assert decide(GOOD_A, settings=settings).arm == A
    assert decide(NOTHING_LEARNED, settings=replace(settings, default_arm="not/here")).kind is DecisionKind.GLOBAL
