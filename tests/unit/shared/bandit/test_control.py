"""The control group: conversations by hash, and exact propensities in both groups."""

from __future__ import annotations

import pytest

from shared.bandit.control import assigned, control_arm, group_of
from shared.bandit.decision import ArmView, Decision, DecisionKind, Group, Weights

SHARE = 0.25


def a_view(arm: str, propensity: float) -> ArmView:
    return ArmView(arm, 0.8, 0.05, 0.05, 0.8, 0.0, 0.01, 1.0, 1.0, 0.0, 0.4, 0.4, propensity, 20.0)


DRAWN = Decision(
    DecisionKind.LOCAL, ("b", "a", "c"), 0.5, 0.7, "drawn", weights=Weights(0.6, 0.2, -0.2), session=True,
    views=(a_view("b", 0.5), a_view("a", 0.375), a_view("c", 0.125)), neighbours=(("x", 0.9, "b", 1.0, 1.0),),
)  # fmt: skip


def test_a_conversation_stays_in_its_group_and_a_share_of_them_is_control() -> None:
    groups = [group_of(f"owner-{number}", SHARE) for number in range(4000)]
    assert groups == [group_of(f"owner-{number}", SHARE) for number in range(4000)]
    assert 0.22 < groups.count(Group.CONTROL) / 4000 < 0.28
    wider = [group_of(f"owner-{number}", 2 * SHARE) for number in range(4000)]
    assert all(after is Group.CONTROL for before, after in zip(groups, wider, strict=True) if before is Group.CONTROL)
    assert {group_of("any", 0.0), group_of("other", 0.0)} == {Group.ROUTED}


@pytest.mark.parametrize("group", list(Group))
def test_propensities_are_those_of_the_mixture_in_both_groups(group: Group) -> None:
    """Whatever group a request came to, each model had the same probability."""
    decision = assigned(DRAWN, group, "a", SHARE)
    chances = {view.arm: view.propensity for view in decision.views}
    assert chances == pytest.approx({"b": 0.75 * 0.5, "a": 0.75 * 0.375 + 0.25, "c": 0.75 * 0.125})
    assert sum(chances.values()) == pytest.approx(1)
    assert decision.propensity == chances[decision.arm]
    assert [view.arm for view in decision.views] == list(decision.ranked)
    assert decision.group is group


def test_the_control_group_is_served_by_its_model_and_nothing_of_that_is_exploration() -> None:
    control, routed = assigned(DRAWN, Group.CONTROL, "a", SHARE), assigned(DRAWN, Group.ROUTED, "a", SHARE)
    assert (control.kind, control.ranked) == (DecisionKind.CONTROL, ("a", "b", "c"))
    assert (control.session, control.neighbours, control.explored) == (False, (), False)
    assert (routed.kind, routed.ranked, routed.session) == (DRAWN.kind, DRAWN.ranked, True)


def test_the_control_group_has_the_default_model_or_the_best_fixed_one() -> None:
    assert control_arm(DRAWN, "c", ("b", "a")) == "c"
    assert control_arm(DRAWN, None, ("x", "a", "b")) == "a"
    assert control_arm(DRAWN, "cooling", ("b",)) is None
    assert control_arm(Decision(DecisionKind.DEFAULT, ("a",), 1.0, 0.0, "nothing known"), None, ("a",)) is None
