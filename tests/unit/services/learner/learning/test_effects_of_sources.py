"""What an evaluation, and a score by another source than a user, add to the sums."""

from __future__ import annotations

import pytest

from services.learner.learning.effects import effect_of
from shared.bandit.decision import Group
from shared.bandit.learning import without_source
from shared.bandit.sources import Source
from shared.bandit.stored_sums import parse_sums, weighted_sums
from shared.bandit.sums import ArmSums, GroupSums, Scores, Sums, by_arm
from shared.errors import CorruptState
from shared.schemas.evaluation import Candidate, Evaluation
from shared.schemas.events import Event, EventKind
from shared.schemas.records import Lesson, Status
from shared.schemas.storage import Assignment, LoggedRequest
from tests.support.evaluations import SHADOW, an_evaluation
from tests.support.sample_records import ARM, a_record
from tests.support.values import replace

KIND = (3, 9)
FAILING = "vendor/model-c"


def logged(evaluation: Evaluation | None = None, **facts: object) -> LoggedRequest:
    record = a_record(1e9, **facts)  # type: ignore[arg-type]  # the facts are a_record's own
    return LoggedRequest(Lesson.of(record), None, None, 0, Assignment(KIND, 5), evaluation)


def sums_of(request: LoggedRequest, kind: EventKind = EventKind.EVALUATION, **facts: object) -> dict[str, int]:
    event = Event("1-1", kind, request.record.id, 1, **facts)  # type: ignore[arg-type]  # the facts are an event's
    return dict(effect_of(event, request).sums)


def learned(sums: dict[str, int]) -> dict[str, ArmSums]:
    parts = by_arm(ARM, sums)
    return {
        arm: weighted_sums([(1.0, parse_sums({name: str(value) for name, value in part.items()}))])
        for arm, part in parts.items()
    }


def test_an_evaluation_is_the_judges_scores_and_what_answers_beside_the_path_cost() -> None:
    """Each of its own arm and in the request's kind; a failed call is a failure of its arm."""
    arms = learned(sums_of(logged(an_evaluation(0.75, 0.5))))
    assert arms.keys() == {ARM, SHADOW, FAILING}
    assert arms[FAILING] == ArmSums(Sums(failures=1))
    for arm, score in ((ARM, 0.75), (SHADOW, 0.5)):
        judged = arms[arm].sources[Source.JUDGE]
        assert judged.total == Scores(1.0, score, score * score)
        assert judged.kinds == {KIND: Scores(1.0, score)}
        assert (arms[arm].total.labels, arms[arm].total.requests) == (0, 0), "neither rated nor traffic"
    assert arms[ARM].total.answers == 0
    shadow = arms[SHADOW].total
    assert (shadow.shadows, shadow.cost_usd, shadow.latency_s) == (1, 0.003, 1.5)
    assert (shadow.prompt_tokens, shadow.completion_tokens) == (20, 40)
    assert arms[SHADOW].kinds[KIND].shadows == 1


def test_without_a_verdict_the_answers_still_say_what_they_cost() -> None:
    """What all of it cost is counted for the arm that served."""
    evaluation = an_evaluation(None, None)
    arms = learned(sums_of(logged(evaluation)))
    assert evaluation.spent_usd > 0
    assert arms[ARM] == ArmSums(Sums(evaluation_usd=round(evaluation.spent_usd, 9)))
    assert arms.keys() == {ARM, SHADOW, FAILING}
    assert not arms[SHADOW].sources
    assert arms[SHADOW].total.shadows == 1


@pytest.mark.parametrize("error", ["status_400", "status_402", "cooling"])
def test_a_call_that_says_nothing_of_the_model_is_no_failure_of_it(error: str) -> None:
    """The request was refused, our account had no credit, or the model was not called at all."""
    failed = Candidate(FAILING, served=False, score=None, error=error)
    arms = learned(sums_of(logged(replace(an_evaluation(), candidates=(failed,)))))
    assert FAILING not in arms


def test_two_candidates_of_one_arm_add_up() -> None:
    """A model that answered again beside itself."""
    twice = (Candidate(ARM, served=True, score=0.75), Candidate(ARM, False, 0.25, None, None, 2.0))
    arms = learned(sums_of(logged(replace(an_evaluation(), candidates=twice))))
    assert arms[ARM].sources[Source.JUDGE].total == Scores(2.0, 1.0, 0.625)
    assert (arms[ARM].total.shadows, arms[ARM].total.unpriced) == (1, 1)


@pytest.mark.parametrize("score", [1.5, -0.5, float("nan")])
def test_a_verdict_out_of_range_is_no_effect(score: float) -> None:
    with pytest.raises((CorruptState, ValueError)):
        sums_of(logged(an_evaluation(score, 0.5)))


def test_an_evaluation_that_cannot_be_read_is_no_effect() -> None:
    with pytest.raises(ValueError, match="no evaluation"):
        sums_of(logged(None))


def test_a_score_by_another_source_is_counted_apart_with_its_weight() -> None:
    arms = learned(sums_of(logged(), EventKind.FEEDBACK, score=0.5, source=Source.EVAL, weight=0.25))
    assert arms[ARM].sources[Source.EVAL].total == Scores(0.25, 0.125, 0.0625)
    assert arms[ARM].sources[Source.EVAL].kinds == {KIND: Scores(0.25, 0.125)}
    assert arms[ARM].total.labels == 0
    assert sums_of(logged(status=Status.FAILED), EventKind.FEEDBACK, score=0.5, source=Source.EVAL) == {}


def test_what_a_source_said_can_be_taken_out_alone() -> None:
    """What answers beside the path cost does not depend on the judge."""
    sums = sums_of(logged(an_evaluation()))
    without = sums_of(logged(an_evaluation(None, None)))
    assert without_source(sums, Source.JUDGE) == without
    assert without_source(sums, Source.EVAL) == without_source(sums, Source.USER) == sums


def test_the_judges_score_of_the_served_answer_counts_for_its_group() -> None:
    """That of an answer that nobody was served does not."""
    request = logged(an_evaluation(0.75, 0.5))
    decision = replace(request.record.decision, group=Group.ROUTED)
    arms = learned(sums_of(replace(request, record=replace(request.record, decision=decision))))
    assert arms[ARM].groups == {Group.ROUTED: GroupSums(judged=1, judged_score=0.75, judged_score_sq=0.5625)}
    assert arms[SHADOW].groups == {}
