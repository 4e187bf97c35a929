"""Scores of other sources than users: apart from ratings, by kind, weighted, and refused where they are impossible."""

from __future__ import annotations

import pytest

from shared.bandit.learning import outcome_sums, score_sums
from shared.bandit.sources import Source
from shared.bandit.stored_sums import parse_sums, weighted_sums
from shared.bandit.sums import Scores
from shared.errors import CorruptState

KIND = (1, 7)


def test_scores_of_a_source_are_kept_apart_from_ratings_and_by_kind() -> None:
    judged = score_sums(source=Source.JUDGE, score=0.5, kind=KIND)
    half = score_sums(source=Source.EVAL, score=1.0, kind=None, weight=0.25)
    sums = weighted_sums([(1.0, judged | half)])
    assert sums.total.labels == 0
    assert sums.sources[Source.JUDGE].total == Scores(1.0, 0.5, 0.25)
    assert sums.sources[Source.JUDGE].kinds == {KIND: Scores(1.0, 0.5)}
    assert sums.sources[Source.EVAL].total == Scores(0.25, 0.25, 0.25)


def test_an_answer_that_was_not_served_says_what_answers_cost_but_is_no_traffic() -> None:
    shadow = outcome_sums(cost_usd=0.5, latency_s=2.0, prompt_tokens=10, completion_tokens=20, kind=KIND, served=False)
    total = weighted_sums([(1.0, shadow)]).total
    assert (total.requests, total.answers, total.priced, total.cost_usd, total.latency_s) == (0, 1, 1, 0.5, 2.0)


@pytest.mark.parametrize(
    "fields",
    [
        {"labels_milli:judge": "1000", "score_micro:judge": "1000001"},
        {"labels_milli:judge": "-1"},
        {"labels_milli:judge": "1000", "labels_milli:judge@1.2": "1001"},
        {"labels": "1", "score_micro:judge": "1"},  # ratings of users do not allow scores of a judge
        {"requests": "1", "shadows": "1", "unpriced": "3"},
    ],
)
def test_impossible_sums_of_a_source_are_refused(fields: dict[bytes | str, bytes | str]) -> None:
    with pytest.raises(CorruptState):
        parse_sums(fields)


def test_fields_of_sources_that_are_not_known_are_left_out() -> None:
    assert parse_sums({"labels_milli:oracle": "5", "labels_milli:user": "5", "labels_milli": "5"}) == {}
