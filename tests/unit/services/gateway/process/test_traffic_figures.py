"""Figures of the traffic: what a request adds, and what the sums say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.process.traffic_figures import by_name, expected, shown
from shared.bandit.decision import ArmView, DecisionKind
from shared.schemas.figures import duration_class, duration_of, figures_of, spend_of
from shared.schemas.records import Attempt, RequestRecord, Status
from tests.support.sample_records import a_record
from tests.support.values import replace


def view(arm: str, utility: float) -> ArmView:
    """A view with this expected utility; the draw may have been another."""
    return ArmView(arm, 0.5, 0.1, 0.1, 0.5, 0.0, 0.01, 1.0, 0.2, 0.8, utility, 0.9, 0.5, 1.0)


def routed(served: str, kind: DecisionKind = DecisionKind.LOCAL, **utilities: float) -> RequestRecord:
    """A request that weighed models of these utilities, and was served by one."""
    record = a_record(0.0, arm=served)
    views = tuple(view(arm, utility) for arm, utility in utilities.items())
    ranked = (served, *(arm for arm in utilities if arm != served))
    return replace(record, decision=replace(record.decision, kind=kind, ranked=ranked, propensity=0.5, views=views))


def test_lift_and_regret_are_those_of_the_decisions() -> None:
    """Per decision; the best fixed model is the one with the smallest lift."""
    records = [routed("a", a=0.9, b=0.5), routed("b", a=0.4, b=0.8), routed("a", a=0.3, b=0.4)]
    found = expected(by_name(map(figures_of, records)))
    assert found == {
        "decisions": 3,
        "regret": pytest.approx(0.1 / 3),
        "best_fixed": "b",
        "lift": pytest.approx((0.4 - 0.1) / 3),
        "lift_over": {"a": pytest.approx(0.4 / 3), "b": pytest.approx(0.3 / 3)},
    }


def test_a_model_that_was_weighed_rarely_is_not_compared() -> None:
    """A new model would seem to be the best fixed one, or the worst, by a few requests."""
    records = [routed("a", a=0.9, b=0.5)] * 3 + [routed("a", a=0.9, b=0.5, new=0.95)]
    found = expected(by_name(map(figures_of, records)))
    assert found is not None
    assert (found["best_fixed"], set(found["lift_over"])) == ("a", {"a", "b"})


@pytest.mark.parametrize("kind", [DecisionKind.PINNED, DecisionKind.CONTROL])
def test_requests_that_were_not_routed_have_no_lift(kind: DecisionKind) -> None:
    """Their model was not the policy's choice."""
    assert expected(by_name([figures_of(routed("a", kind, a=0.9, b=0.5))])) is None


def test_what_happened_is_counted_for_the_model_that_it_happened_to() -> None:
    """A failed call counts for its model, the answer for the one that gave it."""
    record = routed("a", a=0.5, b=0.9)
    attempts = (
        Attempt("b", "timeout", 1.0, spent=True, cost_usd=0.25),
        Attempt("c", "status_400", 0.1, spent=False),
        Attempt("a", None, 1.0, spent=True),
    )
    outcome = replace(record.outcome, attempts=attempts, cost_usd=0.5, failed_checks=("empty",))
    decision = replace(record.decision, ranked=("b", "a"), degraded=("qdrant",))
    arms = by_name([figures_of(replace(record, outcome=outcome, decision=decision))])
    a = shown(arms["a"])
    wanted = {"requests": 1, "errors": 0, "fallback": 1, "degraded": 1, "explored": 0, "checked": 1, "failed_checks": 1}
    assert {name: a[name] for name in wanted} == wanted
    assert (a["cost_usd"], a["prompt_tokens"], a["completion_tokens"]) == (0.75, 12, 34)
    assert shown(arms["b"])["errors"] == 1
    assert "c" not in arms
    assert spend_of(replace(record, outcome=outcome))["cost_nano|public"] == 750_000_000


def test_unknown_costs_and_unanswered_requests_are_counted_apart() -> None:
    """An unknown cost is not 0, and a failed call's time says nothing of answers."""
    record = a_record(0.0, status=Status.FAILED)
    record = replace(record, outcome=replace(record.outcome, cost_usd=None, cost_source="unknown"))
    (sums,) = by_name([figures_of(record)]).values()
    found = shown(sums)
    assert (found["failed"], found["unknown_costs"], found["cost_usd"]) == (1, 1, 0)
    assert found["upstream_ms"] == {"p50": None, "p95": None}
    assert found["overhead_ms"]["p50"] == pytest.approx(4, rel=0.1)


def test_quantiles_are_those_of_the_sums() -> None:
    """The median of 1 to 100 ms, and the 95th of them, within the width of a class."""
    field = [{f"overhead:{duration_class(ms / 1000)}|a": 1} for ms in range(1, 101)]
    assert shown(by_name(field)["a"])["overhead_ms"] == {
        "p50": pytest.approx(50, rel=0.1),
        "p95": pytest.approx(95, rel=0.1),
    }


def test_scores_are_means_by_source() -> None:
    """A name of a model may hold any sign."""
    arm = "vendor/a|b:free"
    field = {f"scores:user|{arm}": 4, f"micro:user|{arm}": 3_000_000, f"scores:judge|{arm}": 1}
    assert shown(by_name([field, field])[arm])["scores"] == {
        "judge": {"count": 2, "mean": 0},
        "user": {"count": 8, "mean": 0.75},
    }


@given(st.floats(1e-6, 3600))
def test_a_class_of_durations_is_9_percent_wide_to_each_side(duration_s: float) -> None:
    """From a microsecond to an hour."""
    assert duration_of(duration_class(duration_s)) == pytest.approx(duration_s, rel=0.0951)
