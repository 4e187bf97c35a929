"""What overrules a draw: the probabilities that it leaves behind are exact, and follow from beliefs alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shared.bandit.build import build_policy
from shared.bandit.context import EMPTY
from shared.bandit.decision import Decision, DecisionKind
from shared.bandit.policy import BanditSettings
from shared.bandit.posterior import GaussianPosterior
from shared.bandit.steering import greedy, hold, overrule
from tests.support.bandit_worlds import ARMS, A, B, C, generator, rated, state
from tests.support.values import replace

POLICY = build_policy(BanditSettings(exploration_rate=1.0))
LEARNED = state({A: rated(*[0.9, 0.7] * 10), B: rated(*[0.8, 0.6] * 10), C: rated(*[0.3, 0.1] * 10)})
POSTERIOR = POLICY.fit(LEARNED, ARMS)
COSTS = {A: 0.002, B: 0.2, C: 0.02}
PAID = {arm: replace(LEARNED.arms[arm].total, cost_usd=cost) for arm, cost in COSTS.items()}
WITH_COSTS = POLICY.fit(state(PAID), ARMS)
SEEDS = st.integers(0, 2**32 - 1)


def draw(seed: int, posterior: GaussianPosterior = POSTERIOR) -> Decision:
    return POLICY.decide(posterior, EMPTY, [A, B, C], generator(seed))


def certain(decision: Decision, arm: str) -> bool:
    """Whether `arm` is first for sure, and the record says so of every arm."""
    return (
        decision.ranked[0] == arm
        and decision.propensity == 1.0
        and {view.arm: view.propensity for view in decision.views}
        == {view.arm: float(view.arm == arm) for view in decision.views}
        and tuple(view.arm for view in decision.views) == decision.ranked
        and len(set(decision.ranked)) == len(decision.ranked)
    )


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.sampled_from([A, B, C, "gone/model", None]), st.floats(0, 1))
def test_a_conversation_is_held_exactly_while_its_model_is_within_the_margin(
    seed: int, arm: str | None, margin: float
) -> None:
    """Held or not follows from beliefs alone; held is certain, not held leaves the draw and its chances as they are."""
    drawn = draw(seed)
    best, view = max(one.utility for one in drawn.views), drawn.view(arm or "")
    followed = hold(drawn, arm, margin)
    if view is not None and view.utility >= best - margin:
        assert arm is not None
        assert certain(followed, arm)
        assert followed.session
        assert (followed.kind, followed.explored) == (drawn.kind, False)
    else:
        assert followed == drawn


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.sampled_from([A, B, C]), st.floats(0, 0.2), st.floats(0, 1e-2))
def test_what_a_prompt_cache_saves_counts_as_a_lower_cost(seed: int, arm: str, margin: float, saved_usd: float) -> None:
    """As if the arm were cheaper by it, as a share of the dearest arm, and at best free."""
    drawn = draw(seed, WITH_COSTS)
    view, weights = drawn.view(arm), drawn.weights
    assert view is not None
    assert weights is not None
    dearest = max(one.cost_usd or 0.0 for one in drawn.views)
    utility = view.utility - weights.cost * min(saved_usd / dearest, view.cost_term)
    lacks = max(one.utility for one in drawn.views) - margin - utility
    assume(abs(lacks) > 1e-9)
    assert hold(drawn, arm, margin, saved_usd).session is (lacks < 0)


def test_a_prompt_cache_can_decide() -> None:
    drawn = draw(1, WITH_COSTS)
    best = max(drawn.views, key=lambda view: view.utility)
    dear = max(drawn.views, key=lambda view: view.cost_term)
    margin = best.utility - dear.utility - 1e-3
    assert dear is not best
    assert not hold(drawn, dear.arm, margin).session
    followed = hold(drawn, dear.arm, margin, saved_usd=1.0)
    assert certain(followed, dear.arm)
    assert followed.reason.endswith("of the best, with what its prompt cache saves.")


def test_the_recorded_propensities_are_the_frequencies() -> None:
    """Over many draws each arm comes first as often as its decisions say: held, greedy, and as drawn."""
    n = 4000
    for follow in (
        lambda drawn: drawn,
        lambda drawn: hold(drawn, B, 0.2),
        lambda drawn: hold(drawn, C, 0.0),
        lambda drawn: greedy(drawn, "off"),
    ):
        followed = [follow(draw(seed)) for seed in range(n)]
        counted = Counter(decision.arm for decision in followed)
        for arm in (A, B, C):
            (chance,) = {view.propensity for decision in followed for view in decision.views if view.arm == arm}
            assert counted[arm] / n == pytest.approx(chance, abs=5 * np.sqrt(0.25 / n) if 0 < chance < 1 else 0)


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_without_exploration_the_best_expected_arm_comes_first_for_certain(seed: int) -> None:
    """As a policy with rate 0 would choose; ties do not fall by chance."""
    followed = greedy(draw(seed), "spent")
    assert certain(followed, A)
    assert (followed.exploration, followed.explored) == ("spent", False)
    assert [view.utility for view in followed.views] == sorted((v.utility for v in followed.views), reverse=True)
    cold = build_policy(BanditSettings())
    tied = cold.decide(cold.fit(state({}), ARMS), EMPTY, [C, A, B], generator(seed))
    assert greedy(tied, "off").arm == A


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_without_exploration_the_default_model_answers_where_the_best_is_not_certain(seed: int) -> None:
    """As a policy with rate 0 would choose, whatever was drawn; an unweighed default model changes nothing."""
    base = BanditSettings(exploration_rate=0.4, default_arm=C)
    best = max(draw(seed).views, key=lambda view: view.utility)
    confidence = greedy(draw(seed), "off").confidence
    for bound, first, kind in ((confidence - 0.01, best.arm, DecisionKind.GLOBAL), (1.0, C, DecisionKind.DEFAULT)):
        policy = build_policy(replace(base, min_confidence_score=bound))
        drawn = policy.decide(policy.fit(LEARNED, ARMS), EMPTY, [A, B, C], generator(seed))
        followed = greedy(drawn, "off", C, bound)
        assert certain(followed, first)
        assert (followed.kind, followed.exploration, followed.explored) == (kind, "off", False)
        never = build_policy(replace(base, min_confidence_score=bound, exploration_rate=0.0))
        assert never.decide(never.fit(LEARNED, ARMS), EMPTY, [A, B, C], generator(seed)).arm == followed.arm
    assert certain(greedy(draw(seed), "spent", "not/here", 1.0), best.arm)


def test_explored_is_what_only_the_draw_chose() -> None:
    """Among many decisions, exactly those that put another arm first than the best expected one."""
    decisions = [draw(seed) for seed in range(300)]
    assert {decision.explored for decision in decisions} == {True, False}
    assert all(decision.explored == (decision.arm != A) for decision in decisions)


def test_shadow_mode_serves_one_arm_and_keeps_what_was_believed_of_it() -> None:
    """The served decision is certain, names no other arm, and keeps the cluster that its rating will teach."""
    drawn = draw(1)
    served = overrule(drawn, B)
    assert (served.ranked, served.propensity, served.kind) == ((B,), 1.0, DecisionKind.DEFAULT)
    view = served.view(B)
    assert view is not None
    assert (view.propensity, served.cluster, served.snapshot) == (1.0, drawn.cluster, drawn.snapshot)
    stranger = overrule(drawn, "other/default")
    assert (stranger.ranked, stranger.views, stranger.propensity) == (("other/default",), (), 1.0)


def test_choices_that_were_never_weighed_stay_as_they_are() -> None:
    """A pinned or default choice has no beliefs to follow."""
    pinned = Decision(DecisionKind.PINNED, (A,), 1.0, 1.0, "the client named the model")
    assert hold(pinned, A, 1.0) == greedy(pinned, "off") == pinned
    assert not pinned.explored
