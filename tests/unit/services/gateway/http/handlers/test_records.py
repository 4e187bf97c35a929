"""Views of stored requests in the API."""

from __future__ import annotations

import pytest

from services.gateway.http.handlers.records import _record, numbers
from shared.bandit.racing import EvaluationPlan, EvaluationReason
from shared.bandit.sources import Source
from shared.schemas.records import Rating, StoredRequest
from tests.support.evaluations import SHADOW, an_evaluation
from tests.support.sample_records import ARM, a_record
from tests.support.values import replace


def stored(*, revision: int = 2, applied: int = 0) -> StoredRequest:
    record = a_record(1e9)
    record = replace(record, outcome=replace(record.outcome, first_token_s=0.25, upstream_s=1.5, overhead_s=0.004))
    return StoredRequest(record, Rating(0.5, revision, None, 1e9), outcome_applied=True, rating_applied=applied)


@pytest.mark.parametrize(("applied", "learned"), [(0, False), (1, False), (2, True), (3, True)])
def test_a_rating_is_learned_when_its_revision_is(applied: int, *, learned: bool) -> None:
    """An older revision that was learned is not the last one."""
    assert _record(stored(applied=applied))["learned"]["feedback"] is learned


def test_the_plan_of_an_evaluation_is_shown_with_its_probability() -> None:
    """It is recorded whether or not the evaluation came about."""
    plan = EvaluationPlan(EvaluationReason.RACE, ("b/two", "c/three"), 0.5, 0.0625)
    shown = _record(replace(stored(), record=replace(a_record(1e9), evaluation_plan=plan)))["evaluation_plan"]
    assert shown == {"reason": "race", "arms": ("b/two", "c/three"), "probability": 0.5, "expected_regret": 0.0625}
    assert _record(stored())["evaluation_plan"] is None


def test_scores_by_source_and_the_evaluation_are_shown() -> None:
    """With what of them has been learned: the newest revision, or an older one."""
    scores = {Source.EVAL: Rating(0.25, 2, None, 1e9, 0.5), Source.SESSION: Rating(1.0, 1, "fine", 1e9)}
    whole = replace(
        stored(), scores=scores, scores_applied={Source.EVAL: 1, Source.SESSION: 1}, evaluation=an_evaluation(),
        evaluation_applied=True,
    )  # fmt: skip
    shown = _record(whole)
    assert shown["scores"]["eval"] == {"score": 0.25, "revision": 2, "text": None, "rated_at": 1e9, "weight": 0.5}
    assert shown["learned"]["scores"] == {"eval": False, "session": True}
    assert shown["learned"]["evaluation"] is True
    assert shown["evaluation"]["judge"] == "vendor/judge"
    assert [(one["arm"], one["served"], one["score"]) for one in shown["evaluation"]["candidates"]] == [
        (ARM, True, 0.75), (SHADOW, False, 0.5), ("vendor/model-c", False, None)
    ]  # fmt: skip
    assert (_record(stored())["scores"], _record(stored())["evaluation"]) == ({}, None)


def test_latencies_are_milliseconds() -> None:
    """Those of the record itself are seconds."""
    assert numbers(stored())["latency_ms"] == pytest.approx({"overhead": 4.0, "upstream": 1500.0, "first_token": 250.0})


def test_records_of_before_kinds_show_their_cluster() -> None:
    """What is not known of it is null, and nothing is said to be new; without a cluster there is no kind."""
    shown = _record(replace(stored(), record=a_record(1e9, cluster=(3, 7))))["decision"]
    assert shown["prompt_kind"] == {
        "id": "3.7",
        "size": None,
        "requests_nearby": None,
        "labels_nearby": None,
        "new": None,
        "nearness": None,
        "examples": [],
    }
    assert _record(stored())["decision"]["prompt_kind"] is None
