"""What a decision is estimated to be worth: laws that hold whatever is believed."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.bandit.decision import ArmView, Decision, DecisionKind, Weights
from shared.bandit.evaluation import expected_utilities, worth_of
from shared.bandit.policy import ArmSummary
from tests.support.values import replace

WEIGHTS = Weights(quality=0.6, latency=0.2, cost=-0.2)
utilities = st.lists(st.floats(-1, 1), min_size=1, max_size=6)


def decided(values: list[float]) -> Decision:
    """Return a decision for the first of some arms with these utilities."""
    known: dict[str, Any] = {field.name: 0.0 for field in fields(ArmView)}
    blank = ArmView(**known)
    views = tuple(replace(blank, arm=f"arm-{i}", utility=value) for i, value in enumerate(values))
    ranked = tuple(view.arm for view in views)
    return Decision(DecisionKind.GLOBAL, ranked, 1.0, 1.0, "", views=views, weights=WEIGHTS)


@given(utilities)
def test_lift_and_regret_share_one_scale(values: list[float]) -> None:
    """Regret is never negative and 0 for the best choice alone; the fixed arm's lift is 0; none gains beyond regret."""
    decision = decided(values)
    for fixed in decision.ranked:
        worth = worth_of(decision, [fixed])
        assert worth is not None
        assert worth.regret >= 0
        assert (worth.regret == 0) == (values[0] == max(values))
        if fixed == decision.arm:
            assert worth.lift == 0
        assert worth.lift + worth.regret >= -1e-12


def test_what_was_not_weighed_is_not_estimated() -> None:
    """A pinned or default choice says nothing of what routing is worth."""
    pinned = Decision(DecisionKind.PINNED, ("a",), propensity=1.0, confidence=1.0, reason="")
    assert worth_of(pinned, ["a"]) is None
    assert worth_of(decided([0.1]), []) is None


@given(st.lists(st.integers(0, 100).map(lambda percent: percent / 100), min_size=1, max_size=6))
def test_of_equal_price_and_speed_the_better_is_first(qualities: list[float]) -> None:
    """Where only quality differs, arms are ranked by it; where nothing is known of cost and time, that is no error."""
    for cost, latency in ((None, None), (0.001, 2.0)):
        beliefs = [ArmSummary(f"a{i}", 1, 1, 0, q, 0, 1, cost, latency) for i, q in enumerate(qualities)]
        ranked = list(expected_utilities(beliefs, WEIGHTS))
        assert sorted(qualities, reverse=True) == [qualities[int(arm[1:])] for arm in ranked]
