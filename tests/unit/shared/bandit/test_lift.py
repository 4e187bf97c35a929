"""The measured lift of routed requests over the control group."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from shared.bandit.decision import ArmView, Group, Weights
from shared.bandit.learning import lift_judged_sums, lift_outcome_sums, lift_rating_sums, without_source
from shared.bandit.lift import Lift, measured_lift, realised_terms
from shared.bandit.sources import Source
from shared.bandit.stored_sums import parse_sums, weighted_sums
from shared.bandit.sums import LARGEST_TERMS, ArmSums, GroupSums, Sums
from shared.errors import CorruptState

WEIGHTS = Weights(quality=0.5, latency=0.0, cost=-0.2)


def a_group(number: int, quality: float, terms: float, cost_usd: float) -> GroupSums:
    """Answers with ratings of 0 and 1, and terms with an sd of .1."""
    return GroupSums(
        requests=number, labels=number, score=quality * number, score_sq=quality * number, cost_usd=cost_usd * number,
        terms=terms * number, terms_sq=(terms**2 + 0.01) * number,
    )  # fmt: skip


ROUTED, CONTROL = a_group(900, 0.8, -0.1, 0.01), a_group(100, 0.7, -0.2, 0.02)


def lift_of(routed: GroupSums, control: GroupSums, evaluation_usd: float = 0.0) -> Lift:
    """Return the lift where two arms have answered half of the routed requests each, and one of them all others."""
    half = GroupSums(*(getattr(routed, name) / 2 for name in GroupSums.__slots__))
    first = ArmSums(Sums(evaluation_usd=evaluation_usd), groups={Group.ROUTED: half, Group.CONTROL: control})
    lift = measured_lift([first, ArmSums(groups={Group.ROUTED: half})], WEIGHTS, 0.02)
    assert lift is not None
    return lift


def test_the_lift_is_the_difference_of_the_means_with_the_variance_of_both() -> None:
    lift = lift_of(ROUTED, CONTROL)
    assert lift.quality is not None
    assert lift.utility is not None
    assert lift.quality.mean == pytest.approx(0.1)
    assert lift.quality.high - lift.quality.mean == pytest.approx(1.96 * math.sqrt(0.16 / 899 + 0.21 / 99))
    assert lift.utility.mean == pytest.approx(0.5 * 0.1 + 0.1)
    variance = 0.25 * (0.16 / 899 + 0.21 / 99) + 0.01 / 899 + 0.01 / 99
    assert lift.utility.mean - lift.utility.low == pytest.approx(1.96 * math.sqrt(variance))
    assert lift.cost_usd == pytest.approx(-0.01)
    assert (lift.groups[Group.ROUTED].requests, lift.groups[Group.CONTROL].requests) == (900, 100)


def test_a_judge_measures_the_lift_where_nobody_rates() -> None:
    """And where both do, the narrower interval of the two counts; each is shown."""
    control = GroupSums(requests=100, judged=50, judged_score=25, judged_score_sq=15, terms=-20, terms_sq=5.0)
    routed = GroupSums(requests=900, judged=450, judged_score=315, judged_score_sq=250, terms=-90, terms_sq=18.0)
    judged = lift_of(routed, control)
    assert judged.quality is None
    assert judged.quality_judged is not None
    assert judged.utility is not None
    assert judged.quality_judged.mean == pytest.approx(0.2)
    assert judged.utility.mean == pytest.approx(0.5 * 0.2 + 0.1)
    few = {"labels": 4, "score": 2, "score_sq": 2}
    both = lift_of(replace(routed, **few), replace(control, **few))
    assert both.quality is not None
    assert both.utility == judged.utility


def test_the_interval_covers_the_true_difference_in_19_of_20_cases() -> None:
    rng, covered = np.random.default_rng(1), 0
    for _ in range(400):
        groups = {}
        for group, number, quality in ((Group.ROUTED, 300, 0.75), (Group.CONTROL, 60, 0.6)):
            good, terms = float((rng.random(number) < quality).sum()), rng.normal(-0.1, 0.1, number)
            groups[group] = GroupSums(
                requests=number, labels=number, score=good, score_sq=good, cost_usd=1.0,
                terms=float(terms.sum()), terms_sq=float((terms**2).sum()),
            )  # fmt: skip
        utility = lift_of(groups[Group.ROUTED], groups[Group.CONTROL]).utility
        assert utility is not None
        covered += utility.low <= 0.5 * 0.15 <= utility.high
    assert 0.92 < covered / 400 < 0.98


def test_evaluations_are_paid_back_by_the_lift() -> None:
    """900 routed requests at .15 have gained 135; a USD is 10 units of utility where the dearest answer costs .02."""
    paid, owing = lift_of(ROUTED, CONTROL, 10.0), lift_of(ROUTED, CONTROL, 20.0)
    assert [paid.net, paid.requests_left] == pytest.approx([35.0, 0.0])
    assert [owing.net, owing.requests_left] == pytest.approx([-65.0, 65.0 / 0.15])


def test_a_router_that_loses_never_pays_back() -> None:
    lift = lift_of(a_group(900, 0.5, -0.2, 0.01), CONTROL)
    assert lift.net is not None
    assert lift.net < 0
    assert lift.requests_left is None


def test_nothing_is_claimed_without_a_control_group_or_its_ratings() -> None:
    assert measured_lift([ArmSums(groups={Group.ROUTED: ROUTED})], WEIGHTS, 0.02) is None
    lift = lift_of(ROUTED, GroupSums(requests=100, cost_usd=2.0, terms=-20.0, terms_sq=5.0))
    assert (lift.quality, lift.utility, lift.net, lift.requests_left) == (None, None, None, None)
    assert lift.cost_usd == pytest.approx(-0.01)


def a_view(arm: str, cost_usd: float | None, latency_s: float | None) -> ArmView:
    return ArmView(arm, 0.8, 0.05, 0.05, 0.8, 0.0, cost_usd, latency_s, 1.0, 0.0, 0.4, 0.4, 0.5, 20.0)


def test_terms_are_on_the_scales_of_the_decision() -> None:
    """Cost over the dearest arm's expected cost, time over the slowest arm's; unknown scales count nothing."""
    weights, views = Weights(0.6, 0.2, -0.2), (a_view("a", 0.01, 4.0), a_view("b", 0.04, None))
    assert realised_terms(views, 0.02, 1.0, weights) == pytest.approx(0.2 * 0.75 - 0.2 * 0.5)
    assert realised_terms((a_view("a", None, None),), 0.02, 1.0, weights) == 0
    assert realised_terms(views, 1e9, 1.0, weights) == -LARGEST_TERMS


def test_contributions_of_groups_are_read_back() -> None:
    outcome = lift_outcome_sums(Group.CONTROL, cost_usd=0.25, terms=-0.5)
    rating = lift_rating_sums(Group.CONTROL, 0.5)
    verdict = lift_judged_sums(Group.CONTROL, 0.25)
    fields: dict[bytes | str, bytes | str] = {name: str(value) for name, value in (outcome | rating | verdict).items()}
    sums = weighted_sums([(0.5, parse_sums(fields))])
    half = GroupSums(
        requests=0.5, labels=0.5, score=0.25, score_sq=0.125, judged=0.5, judged_score=0.125, judged_score_sq=0.03125,
        cost_usd=0.125, terms=-0.25, terms_sq=0.125,
    )  # fmt: skip
    assert sums == ArmSums(groups={Group.CONTROL: half})
    assert without_source(verdict, Source.JUDGE) == {}


@pytest.mark.parametrize(
    "fields",
    [
        {"lift_requests:control": "-1"},
        {"lift_judged_control:judge": "1", "lift_judged_control_micro:judge": "1000001"},
        {"lift_labels:control": "1", "lift_score_micro:routed": "1"},
        {"lift_requests:routed": "1", "lift_terms_micro:routed": "-20000001"},
        {"lift_requests:routed": "1", "lift_terms_sq_micro:routed": "400000001"},
    ],
)
def test_impossible_sums_of_a_group_are_refused(fields: dict[bytes | str, bytes | str]) -> None:
    with pytest.raises(CorruptState):
        parse_sums(fields)


def test_fields_of_other_groups_or_of_kinds_are_left_out() -> None:
    assert parse_sums({"lift_requests:other": "5", "lift_requests": "5", "lift_requests:control@1.2": "5"}) == {}
