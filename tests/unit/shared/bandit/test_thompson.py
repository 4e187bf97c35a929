"""The policy: what a decision says, and what moves it."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from shared.bandit.arms import Arm, Price
from shared.bandit.build import build_policy
from shared.bandit.context import EMPTY, Context, Neighbour
from shared.bandit.decision import DecisionKind, Weights
from shared.bandit.evaluation import expected_utilities
from shared.bandit.kinds import Example
from shared.bandit.policy import BanditSettings
from shared.bandit.sums import NOTHING_LEARNED, LearnedState, Sums
from tests.support.bandit_worlds import ARMS, CHEAP, DEAR, A, B, C, by_kind, generator, kinds_at, rated, state, unit
from tests.support.values import replace

POLICY = build_policy(BanditSettings())
IDS = [A, B, C]
LEARNED = state({A: rated(*[0.9, 0.7] * 10), B: rated(*[0.8, 0.6] * 10, cost_usd=0.02, latency_s=30)})


def test_the_ranking_holds_every_eligible_arm_once_and_nothing_else() -> None:
    """The fallback order is complete, and arms that are not eligible are not weighed."""
    posterior = POLICY.fit(LEARNED, ARMS)
    for eligible in ([A, B, C], [C, A], [B]):
        decision = POLICY.decide(posterior, EMPTY, eligible, generator())
        assert sorted(decision.ranked) == sorted(eligible)
        assert [view.arm for view in decision.views] == list(decision.ranked)
        others = [view.draw for view in decision.views[1:]]
        assert others == sorted(others, reverse=True)
        assert decision.propensity == decision.views[0].propensity


def test_the_same_generator_gives_the_same_decision() -> None:
    """Decisions are pure: state, context, arms and generator determine them."""
    posterior = POLICY.fit(LEARNED, ARMS)
    assert POLICY.decide(posterior, EMPTY, IDS, generator(7)) == POLICY.decide(posterior, EMPTY, IDS, generator(7))


def test_a_decision_is_json() -> None:
    """Every figure is a plain, finite number, so that the record can be stored."""
    decision = POLICY.decide(POLICY.fit(LEARNED, ARMS), EMPTY, IDS, generator())
    assert b"NaN" not in orjson.dumps(decision)
    assert b"null" in orjson.dumps([view.cost_usd for view in decision.views])
    assert type(decision.confidence) is float


def test_from_cold_all_arms_have_the_same_chance() -> None:
    """Without evidence and prices no arm is favoured."""
    decision = POLICY.decide(POLICY.fit(NOTHING_LEARNED, ARMS), EMPTY, IDS, generator())
    assert [view.propensity for view in decision.views] == pytest.approx([1 / 3] * 3, abs=1e-6)
    assert decision.confidence == pytest.approx(1 / 3, abs=1e-3)
    assert decision.kind is DecisionKind.GLOBAL


def test_confidence_is_high_once_the_best_arm_is_known() -> None:
    """Many ratings for one arm and against the others leave little doubt."""
    learned = state({A: rated(*[1.0, 0.9] * 200), B: rated(*[0.1] * 200), C: rated(*[0.2] * 200)})
    decision = POLICY.decide(POLICY.fit(learned, ARMS), EMPTY, IDS, generator())
    assert decision.arm == A
    assert decision.confidence > 0.99


def test_neighbours_count_only_after_they_have_proven_to_predict() -> None:
    """The shift is logged either way; it moves the estimate only while the gate is open."""
    near = Context(None, tuple(Neighbour(f"n{i}", 0.95, B, 1.0) for i in range(20)))
    shut = POLICY.decide(POLICY.fit(LEARNED, ARMS), near, IDS, generator())
    proof = replace(LEARNED.arms[A].total, gain=30.0, gain_sq=2.0)
    proven = state({A: proof, B: LEARNED.arms[B].total})
    opened = POLICY.decide(POLICY.fit(proven, ARMS), near, IDS, generator())
    before, after = shut.view(B), opened.view(B)
    assert before is not None
    assert after is not None
    assert shut.kind is DecisionKind.GLOBAL
    assert opened.kind is DecisionKind.LOCAL
    assert before.local_shift > 0.1
    assert before.quality == before.base_quality
    assert after.quality == pytest.approx(after.base_quality + after.local_shift)
    assert {request_id for request_id, *_ in opened.neighbours} == {f"n{i}" for i in range(20)}


def test_neighbours_of_unknown_arms_are_ignored() -> None:
    """A model that has been taken out of LLM_MODELS may still have neighbours."""
    gone = Context(None, (Neighbour("n", 0.99, "gone/model", 1.0),))
    assert POLICY.decide(POLICY.fit(LEARNED, ARMS), gone, IDS, generator()).neighbours == ()


def test_arms_come_and_go_without_touching_the_others() -> None:
    """A new arm starts from the prior; sums of a removed one wait unused."""
    small = POLICY.fit(LEARNED, ARMS[:2]).summary()
    large = POLICY.fit(LEARNED, (*ARMS, Arm("new/d", CHEAP))).summary()
    assert {s.arm: s.labels for s in large} == {A: 20, B: 20, C: 0, "new/d": 0}
    assert [s.labels for s in small] == [20, 20]


def test_the_summary_is_what_was_learned() -> None:
    """Means, intervals inside [0, 1] around them, and real costs per request."""
    a, b, c = POLICY.fit(LEARNED, ARMS).summary()
    assert a.quality > b.quality
    for arm in (a, b, c):
        assert 0 <= arm.quality_low <= arm.quality <= arm.quality_high <= 1
    assert c.quality_high - c.quality_low > 2 * (a.quality_high - a.quality_low)
    assert b.latency_s is not None
    assert (c.cost_usd, b.labels, b.failures) == (None, 20, 0)


def test_a_prompt_falls_into_the_nearest_kind() -> None:
    """The decision names generation and kind, and what is known there; nothing without a vector of the right size."""
    kinds = replace(
        kinds_at((1, 0, 0), (0, 1, 0), generation=4), examples={1: (Example("r-1", 0.9), Example("r-2", 0.8))}
    )
    arms = {A: by_kind(None, rated(*[0.9] * 12, requests=20), generation=4)}
    posterior = POLICY.fit(LearnedState("1", arms, kinds), ARMS)
    decision = POLICY.decide(posterior, Context(unit(0.1, 0.9, 0.2)), IDS, generator())
    assert (decision.cluster, decision.nearness, decision.examples) == ((4, 1), 1.0, ("r-1", "r-2"))
    assert decision.kind_requests == pytest.approx(20)
    assert decision.kind_labels == pytest.approx(12)
    for context in (EMPTY, Context(np.ones(7, dtype=np.float32))):
        unplaced = POLICY.decide(posterior, context, IDS, generator())
        assert (unplaced.cluster, unplaced.nearness, unplaced.examples) == (None, None, ())
        assert (unplaced.kind_requests, unplaced.kind_labels) == (20, 12), "without context all prompts are alike"


def test_zero_weights_and_free_arms_do_no_harm() -> None:
    """Extremes of the settings: nothing divides by zero, somebody answers."""
    free = (Arm(A), Arm(B), Arm(C))
    learned = state({A: Sums(requests=5), B: Sums(requests=2), C: Sums()})
    for weights in (Weights(0, 0, 0), Weights(0, 1, -1), Weights(1, 1, -1)):
        policy = build_policy(
            BanditSettings(
                weights=weights, min_requests_for_global=0, exploration_bonus=0, min_similar_requests=0,
                max_similar_requests=0,
            )
        )  # fmt: skip
        decision = policy.decide(policy.fit(learned, free), EMPTY, IDS, generator())
        assert sum(view.propensity for view in decision.views) == pytest.approx(1.0, abs=1e-6)


def test_the_reason_names_the_arm_in_one_line() -> None:
    """A person can read why."""
    decision = POLICY.decide(POLICY.fit(LEARNED, ARMS), EMPTY, IDS, generator())
    assert decision.arm in decision.reason
    assert decision.reason.endswith(".")
    assert "\n" not in decision.reason


def test_an_arm_that_fails_counts_for_less() -> None:
    """Of two arms with equal ratings the one whose calls fail is expected to be worth less, by the share that fails."""
    learned = state({A: rated(*[0.9] * 40), B: rated(*[0.9] * 40, failures=40)})
    decision = POLICY.decide(POLICY.fit(learned, ARMS), EMPTY, IDS, generator())
    steady, failing = decision.view(A), decision.view(B)
    assert steady is not None
    assert failing is not None
    assert failing.base_quality == pytest.approx(steady.base_quality)
    assert failing.quality == pytest.approx(failing.base_quality * 50 / 90)
    assert failing.propensity < 0.1 < steady.propensity


def test_an_unknown_price_counts_like_the_mean_of_the_known_ones() -> None:
    """It is neither free nor the dearest; the same holds for the utilities that are shown."""
    arms = (Arm(A, Price(1e-6, 1e-6)), Arm(B, Price(3e-6, 3e-6)), Arm(C))
    settings = BanditSettings(weights=Weights(0.6, 0.2, -0.5))
    posterior = build_policy(settings).fit(NOTHING_LEARNED, arms)
    decision = build_policy(settings).decide(posterior, EMPTY, IDS, generator())
    terms = {view.arm: view.cost_term for view in decision.views}
    assert terms == pytest.approx({A: 1 / 3, B: 1.0, C: 2 / 3})
    assert {view.arm: view.cost_usd for view in decision.views}[C] is None
    shown = expected_utilities(posterior.summary(), settings.weights)
    assert shown[A] > shown[C] > shown[B]


def test_answers_of_unknown_cost_leave_the_expected_cost_as_it_was() -> None:
    """However many there are, they are no evidence of a price."""
    arms = (Arm(A, CHEAP), Arm(B, DEAR))
    before = POLICY.fit(state({B: rated(requests=10, cost_usd=0.5)}), arms).cost_usd
    after = POLICY.fit(state({B: rated(requests=1000, unpriced=990, cost_usd=0.5)}), arms).cost_usd
    np.testing.assert_allclose(after, before)


def specialists(arms: int = 2, labels: int = 60) -> LearnedState:
    """Return a state in which arm i is the best for kind i by .9 to .4; the kinds are orthogonal."""
    kinds = kinds_at(*np.eye(4)[:arms].tolist(), counts=[labels * arms] * arms)
    known = {
        arm: by_kind(*(rated(*[0.9 if kind == i else 0.4] * labels) for kind in range(arms)))
        for i, arm in enumerate(IDS[:arms])
    }
    return LearnedState("1", known, kinds)


def test_the_policy_serves_each_kind_of_prompt_its_arm() -> None:
    """Arms that swap places between kinds are each chosen where they are good, and in a kind merged into it."""
    learned = specialists()
    posterior = POLICY.fit(learned, ARMS[:2])
    for axis, best in ((unit(1, 0, 0, 0), A), (unit(0, 1, 0, 0), B)):
        decision = POLICY.decide(posterior, Context(axis), [A, B], generator(1))
        assert decision.arm == best
        assert decision.confidence > 0.95
    gone = LearnedState("1", {arm: replace(sums, kinds={}) for arm, sums in learned.arms.items()}, learned.kinds)
    forgotten = POLICY.fit(gone, ARMS[:2])
    assert forgotten.quality[2] == pytest.approx(forgotten.quality[3], abs=0.05)


def test_sums_of_merged_kinds_add_up() -> None:
    """What was counted under an alias counts where the alias leads; what another generation counted, in no kind."""
    learned = specialists()
    assert learned.kinds is not None
    whole = POLICY.fit(learned, ARMS[:2])
    part = rated(*[0.9] * 20)
    rest = replace(part, labels=40.0, score=36.0, score_sq=0.81 * 40, requests=40.0)
    split = {**learned.arms[A].kinds, (1, 0): rest, (1, 7): part}
    arms = {A: replace(learned.arms[A], kinds=split), B: learned.arms[B]}
    merged = POLICY.fit(LearnedState("1", arms, replace(learned.kinds, merged={7: 5, 5: 0})), ARMS[:2])
    np.testing.assert_allclose(merged.quality, whole.quality, rtol=1e-9)
    np.testing.assert_allclose(merged.variance, whole.variance, rtol=1e-9)
    np.testing.assert_allclose(merged.arm_labels_nearby, whole.arm_labels_nearby)
    np.testing.assert_allclose(merged.requests_nearby, whole.requests_nearby)
    older = {arm: replace(sums, kinds={(0, k): s for (_, k), s in sums.kinds.items()}) for arm, sums in arms.items()}
    forgotten = POLICY.fit(LearnedState("1", older, learned.kinds), ARMS[:2])
    assert not forgotten.arm_labels_nearby.any()
    assert forgotten.quality[2] == pytest.approx(forgotten.quality[3], abs=1e-6)


def test_a_new_kind_of_prompt_is_judged_with_a_wide_variance() -> None:
    """Far from every kind: the mean slides to what is known of no kind, with more variance and less confidence."""
    posterior = POLICY.fit(specialists(), ARMS[:2])
    inside, edge, outside = (
        POLICY.decide(posterior, Context(unit(*vector)), [A, B], generator())
        for vector in ((1, 0, 0, 0), (0.4, 0, 0.9, 0), (0.1, 0, 1, 0))
    )
    views = [decision.view(A) for decision in (inside, edge, outside)]
    known, sliding, unknown = (view for view in views if view is not None)
    assert known.quality > sliding.quality > unknown.quality
    assert known.quality_sd < sliding.quality_sd < unknown.quality_sd
    assert known.draw_sd < sliding.draw_sd
    assert inside.nearness == 1.0
    assert edge.nearness is not None
    assert outside.nearness is not None
    assert 1.0 > edge.nearness > outside.nearness
    leaders = [max(view.propensity for view in decision.views) for decision in (inside, edge, outside)]
    assert leaders[0] > 0.9 > leaders[2]
    assert (edge.confidence if edge.arm == A else 0) < inside.confidence
    assert "a new kind of prompt" in outside.reason
    assert "is of kind 1.0 (120 requests), with 120 ratings of similar prompts" in inside.reason


def test_the_interval_of_a_quality_covers_95_percent() -> None:
    """The summary's bounds are 1.96 standard deviations apart from the mean, and within [0, 1]."""
    posterior = POLICY.fit(LEARNED, ARMS)
    for i, summary in enumerate(posterior.summary()):
        half = 1.96 * float(posterior.variance[0, i]) ** 0.5
        assert summary.quality_low == pytest.approx(max(summary.quality - half, 0.0), abs=1e-4)
        assert summary.quality_high == pytest.approx(min(summary.quality + half, 1.0), abs=1e-4)


def test_neighbours_move_an_arm_by_as_much_as_it_is_reliable() -> None:
    """What similar requests say of the answers counts for the share of calls that are answered."""
    near = Context(None, tuple(Neighbour(f"n{i}", 0.95, A, 0.0) for i in range(20)))
    proof = replace(LEARNED.arms[A].total, gain=30.0, gain_sq=2.0, failures=30.0)
    decision = POLICY.decide(POLICY.fit(state({A: proof}), ARMS), near, IDS, generator())
    view = decision.view(A)
    assert view is not None
    assert view.local_shift < -0.1
    assert view.quality == pytest.approx(0.5 * (view.base_quality + view.local_shift))
