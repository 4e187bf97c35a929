"""No setting is dead: turning each one does what its sentence in the README says."""

from __future__ import annotations

import pytest

from shared.bandit.arms import Arm
from shared.bandit.build import build_policy
from shared.bandit.context import EMPTY, Context, Neighbour
from shared.bandit.decision import Decision, DecisionKind, Weights
from shared.bandit.policy import BanditSettings
from shared.bandit.propensity import chance_of_best
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
    assert chance(decide(GOOD_A, settings=weights(quality=1.0)), A) > 0.95
    blind = decide(GOOD_A, settings=weights(latency=1.0))
    assert len({view.utility for view in blind.views}) == 1


def test_latency_weight_prefers_the_faster_arm() -> None:
    """The share of a fast, slightly worse arm grows with LATENCY_WEIGHT."""
    learned = state({A: rated(*[0.8] * 20, latency_s=200.0), B: rated(*[0.75] * 20, latency_s=20.0)})
    by_weight = [chance(decide(learned, arms=ARMS[:2], settings=weights(0.6, w)), B) for w in (0.0, 0.05, 0.5)]
    assert by_weight == sorted(by_weight)
    assert by_weight[0] < 0.2
    assert by_weight[2] > 0.9


def test_cost_weight_prefers_the_cheaper_arm_before_and_after_the_first_request() -> None:
    """List prices count at the start, real costs later; the more negative the weight, the more."""
    arms = (Arm(A, DEAR), Arm(B, CHEAP))
    by_weight = [chance(decide(NOTHING_LEARNED, arms=arms, settings=weights(0.6, 0, w)), B) for w in (0, -0.05, -0.5)]
    assert by_weight == sorted(by_weight)
    assert by_weight[0] < 0.5
    assert by_weight[2] > 0.8
    wrong_list = state({A: Sums(requests=500, cost_usd=0.001), B: Sums(requests=500, cost_usd=5.0)})
    assert chance(decide(wrong_list, arms=arms, settings=weights(0.6, 0, -0.5)), A) > 0.9


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


@pytest.mark.parametrize("needed", [1, 5, 12])
def test_fewer_similar_requests_than_min_similar_requests_are_never_used(needed: int) -> None:
    """MIN_SIMILAR_REQUESTS: with one fewer no estimate moves and the decision is global, with as many it is local."""
    settings = replace(SETTINGS, min_similar_requests=needed)
    too_dissimilar = near(B, 1.0, similarity=0.7, n=9).neighbours  # at the threshold: not similar
    for n, kind in ((needed - 1, DecisionKind.GLOBAL), (needed, DecisionKind.LOCAL)):
        context = Context(None, near(B, 1.0, n=n).neighbours + too_dissimilar)
        decision = decide(gated(GOOD_A), context, settings=settings)
        assert decision.kind is kind
        shifts = [view.local_shift for view in decision.views if view.arm == B]
        assert (shifts[0] > 0.05) == (kind is DecisionKind.LOCAL)
        assert len(decision.neighbours) == n


def test_max_similar_requests_below_min_similar_requests_turns_similarity_off() -> None:
    """What may not be considered does not count as similar."""
    settings = replace(SETTINGS, min_similar_requests=5, max_similar_requests=4)
    assert decide(gated(GOOD_A), near(B, 1.0), settings=settings).kind is DecisionKind.GLOBAL


UNSURE = state({A: rated(*[1, 0.7, 0.4] * 10), B: rated(*[1, 0.5, 0.3] * 10), C: rated(*[0.9, 0.5, 0.3] * 10)})


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.4])
def test_below_min_confidence_score_the_default_model_answers(rate: float) -> None:
    """DEFAULT_MODEL answers where the best arm is so with less probability, but for the share that is explored."""
    base = replace(SETTINGS, default_arm=C, exploration_rate=rate)
    free = decide(UNSURE, settings=base)
    best = max(free.views, key=lambda view: view.utility)
    utilities, sds = [view.utility for view in free.views], [0.6 * view.quality_sd for view in free.views]
    confident = chance_of_best(utilities, sds, free.views.index(best))
    assert 0.5 < confident < 0.99
    below, above = (replace(base, min_confidence_score=confident + change) for change in (-0.02, 0.02))
    assert {decide(UNSURE, settings=below, seed=seed).kind for seed in range(30)} == {DecisionKind.GLOBAL}
    made = [decide(UNSURE, settings=above, seed=seed) for seed in range(200)]
    by_default = [decision for decision in made if decision.kind is DecisionKind.DEFAULT]
    assert {decision.arm for decision in by_default} == {C}
    assert len(by_default) / 200 == pytest.approx(1 - rate, abs=0.1 if rate else 0)
    for arm in (A, B, C):
        assert chance(made[0], arm) == pytest.approx(rate * chance(free, arm) + (1 - rate) * (arm == C))
    assert all("MIN_CONFIDENCE_SCORE" in decision.reason for decision in by_default)
    gone = replace(above, default_arm="not/here")
    assert decide(UNSURE, settings=gone).kind is DecisionKind.GLOBAL


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
        round(
            chance(decide(learned, settings=replace(SETTINGS, exploration_bonus=bonus)), C), 9
        )  # 2 and 3 are at a bound
        for bonus in (0.02, 0.1, 0.3)
    ]
    assert by_bonus == sorted(by_bonus)
    assert by_bonus[2] > by_bonus[0] + 0.1


@pytest.mark.parametrize("needed", [0, 10, 60])
def test_fewer_ratings_than_min_requests_for_global_do_not_count(needed: int) -> None:
    """MIN_REQUESTS_FOR_GLOBAL: with one rated request fewer every arm is at its prior, with as many it is not."""
    settings = replace(SETTINGS, min_requests_for_global=needed)
    prior = decide(NOTHING_LEARNED, settings=settings)
    for labels, counted in ((needed - 1, False), (max(needed, 2), True)):
        if labels < 0:
            continue
        of_a, of_b = labels - labels // 2, labels // 2
        learned = state({A: rated(*[0.0] * of_a, requests=900), B: rated(*[1.0] * of_b, requests=900)})
        decision = decide(learned, settings=settings)
        for arm in (A, B, C):
            view, before = decision.view(arm), prior.view(arm)
            assert view is not None
            assert before is not None
            moved = abs(view.base_quality - before.base_quality) + abs(view.quality_sd - before.quality_sd)
            assert (moved > 1e-6) is counted
        near_b = decide(gated(learned), near(C, 0.0), settings=settings)
        assert near_b.kind is DecisionKind.LOCAL, "similar requests count before that"


def test_costs_are_used_from_the_first_request() -> None:
    """MIN_REQUESTS_FOR_GLOBAL is about ratings: what answers cost is known without them."""
    learned = state({A: Sums(requests=30, cost_usd=3.0, prompt_tokens=30, completion_tokens=30)})
    view = decide(learned, arms=(Arm(A, CHEAP), Arm(B, DEAR))).view(A)
    assert view is not None
    assert view.cost_usd == pytest.approx(3.0 / 40, rel=0.01)


def test_safe_start_serves_the_default_until_the_evidence_names_a_better_arm() -> None:
    """DEFAULT_MODEL answers everything from cold, then gives way."""
    settings = replace(SETTINGS, safe_start=True, default_arm=B)
    for seed in range(20):
        cold = decide(NOTHING_LEARNED, settings=settings, seed=seed)
        assert (cold.kind, cold.arm, cold.propensity) == (DecisionKind.DEFAULT, B, 1.0)
        assert sorted(cold.ranked) == sorted([A, B, C])
    assert max(decide(GOOD_A, settings=settings).views, key=lambda view: view.propensity).arm == A
    assert decide(NOTHING_LEARNED, settings=replace(settings, default_arm="not/here")).kind is DecisionKind.GLOBAL
