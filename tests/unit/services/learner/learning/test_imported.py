"""What imported scores add to the sums, and their points."""

from __future__ import annotations

import numpy as np
import pytest

from services.learner.learning.imported import import_points, import_sums
from shared.bandit.sources import Source
from shared.bandit.stored_sums import parse_sums, weighted_sums
from shared.bandit.sums import ArmSums, by_arm
from shared.errors import CorruptState
from shared.schemas.imports import Import, ImportedAnswer
from tests.support.sample_records import own_id


def learned(answers: dict[str, ImportedAnswer], weight: float = 0.5) -> dict[str, ArmSums]:
    record = Import(own_id(1e9), Source.EVAL, 1e9, "m", weight, answers)
    parts = by_arm("", import_sums(record, (3, 7)))
    return {
        arm: weighted_sums([(1.0, parse_sums({name: str(value) for name, value in part.items()}))])
        for arm, part in parts.items()
    }


def test_scores_count_by_weight_and_kind_for_their_source_alone() -> None:
    """Users' sums stay empty, and an answer of unknown time says nothing of cost and time."""
    sums = learned({"v/a": ImportedAnswer(0.5), "v/b": ImportedAnswer(1.0, cost_usd=1.0)}, weight=0.25)
    assert set(sums) == {"v/a", "v/b"}
    for arm, score in (("v/a", 0.5), ("v/b", 1.0)):
        of = sums[arm].sources[Source.EVAL]
        assert (of.total.labels, of.total.score, of.total.score_sq) == (0.25, 0.25 * score, 0.25 * score**2)
        assert (of.kinds[3, 7].labels, of.kinds[3, 7].score) == (0.25, 0.25 * score)
        assert (sums[arm].total.labels, sums[arm].total.answers, sums[arm].total.latency_s) == (0, 0, 0)


def test_cost_and_time_count_as_of_an_answer_that_no_user_was_served() -> None:
    """Whole, whatever the weight. Unknown tokens are taken as those of a usual request, unknown cost as unknown."""
    answers = {
        "v/a": ImportedAnswer(0.5, 2.0, 0.25, 10, 20),
        "v/b": ImportedAnswer(0.5, 2.0, 0.25),
        "v/c": ImportedAnswer(0.5, 2.0),
    }
    totals = {arm: sums.total for arm, sums in learned(answers).items()}
    assert [(one.requests, one.shadows, one.latency_s) for one in totals.values()] == [(0, 1, 2)] * 3
    assert [(one.cost_usd, one.unpriced) for one in totals.values()] == [(0.25, 0), (0.25, 0), (0, 1)]
    assert [(one.prompt_tokens, one.completion_tokens) for one in totals.values()] == [(10, 20), (400, 400), (0, 0)]
    assert learned(answers)["v/a"].kinds[3, 7].cost_usd == 0.25


def test_sums_that_readers_would_refuse_are_not_made() -> None:
    """One such hash of sums would keep every gateway from reading what was learned."""
    with pytest.raises(CorruptState):
        learned({"v/a": ImportedAnswer(0.5, latency_s=90_000.0)})


def test_each_answer_has_a_point_of_its_own_that_is_always_the_same() -> None:
    """With the score as its label, whatever the order of the answers."""
    record = Import(own_id(1e9), Source.JUDGE, 1e9, "m", 1.0, {"a": ImportedAnswer(0.5), "b": ImportedAnswer(1.0)})
    vector = np.ones(1, dtype=np.float32)
    points = {point.arm: point for point in import_points(record, vector)}
    assert {arm: (point.score, point.created_at, point.owner) for arm, point in points.items()} == {
        "a": (0.5, 1e9, "import:judge"),
        "b": (1.0, 1e9, "import:judge"),
    }
    again = {point.arm: point.request_id for point in import_points(record, vector)}
    assert again == {arm: point.request_id for arm, point in points.items()}
    assert len({record.id, *again.values()}) == 3
