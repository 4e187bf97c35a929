"""Laws of stored requests: what is written can be read, whole or as far as it is learned from."""

from __future__ import annotations

import orjson
import pytest

from shared.bandit.decision import NEIGHBOUR_FIELDS, ArmView, Decision, DecisionKind
from shared.schemas.records import Attempt, Lesson, Outcome, RequestRecord, Status
from tests.support.values import replace

VIEW = ArmView("maker/model", 0.5, 0.1, 0.1, 0.5, 0.0, None, 1.0, 0.1, 0.5, 0.3, 0.2, 1.0, 12.0)
DECISION = Decision(
    DecisionKind.LOCAL, ("maker/model",), 0.5, 0.5, "a reason", (VIEW,), cluster=(1, 2), degraded=("redis",),
    neighbours=tuple((f"id-{number}", 0.8, "maker/model", 0.5, 0.1) for number in range(3)),
)  # fmt: skip
OUTCOME = Outcome(
    Status.ANSWERED, "maker/model", 1e-3, "price", 10, 20, 0.001, 1.0, None, streamed=False,
    attempts=(Attempt("maker/model", None, 1.0, spent=True),),
)  # fmt: skip
RECORD = RequestRecord("id", "public", "owner", 1e9, None, "model", DECISION, OUTCOME, shadow=DECISION)


@pytest.mark.parametrize("shadow", [None, DECISION])
def test_the_lesson_of_a_record_is_what_is_learned_from(shadow: Decision | None) -> None:
    """Read of the stored record, or made of the whole one."""
    record = replace(RECORD, shadow=shadow)
    assert RequestRecord.from_json(record.to_json()) == record
    lesson = Lesson.from_json(record.to_json())
    assert lesson == Lesson.of(record)
    assert (lesson.id, lesson.owner, lesson.created_at, lesson.embedding_model) == ("id", "owner", 1e9, "model")
    assert (lesson.outcome, lesson.decision.view("maker/model")) == (OUTCOME, VIEW)
    assert lesson.decision.view("another") is None
    assert lesson.rateable


def test_a_record_of_an_earlier_version_is_read() -> None:
    """Its neighbours have names, and it says nothing of arms that were left out."""
    story = orjson.loads(RECORD.to_json())
    for decision in (story["decision"], story["shadow"]):
        del decision["unfit"]
    for decision in (story["decision"], story["shadow"]):
        decision["neighbours"] = [dict(zip(NEIGHBOUR_FIELDS, use, strict=True)) for use in decision["neighbours"]]
    assert RequestRecord.from_json(orjson.dumps(story)) == RECORD
    assert Lesson.from_json(orjson.dumps(story)) == Lesson.of(RECORD)
    kept = orjson.loads(RECORD.to_json()) | {"shadow": story["shadow"]}  # as a history has it
    assert RequestRecord.from_json(orjson.dumps(kept)) == RECORD
    story["shadow"] = {"neighbours": 3}
    with pytest.raises(ValueError, match=r"neighbours|shadow"):
        RequestRecord.from_json(orjson.dumps(story))


def test_an_unknown_cost_is_stored_as_null_and_read_from_0() -> None:
    """Earlier versions wrote 0 with the source `unknown`; both are read as unknown, and free stays free."""
    unknown = replace(RECORD, outcome=replace(OUTCOME, cost_usd=None, cost_source="unknown"))
    story = orjson.loads(unknown.to_json())
    assert story["outcome"]["cost_usd"] is None
    story["outcome"]["cost_usd"] = 0.0
    assert Lesson.from_json(orjson.dumps(story)).outcome.cost_usd is None
    assert RequestRecord.from_json(orjson.dumps(story)) == unknown
    free = replace(RECORD, outcome=replace(OUTCOME, cost_usd=0.0, cost_source="upstream"))
    assert RequestRecord.from_json(free.to_json()).outcome.cost_usd == 0.0


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"{}", b'{"decision": 3}', RECORD.to_json()[:-1]])
def test_what_is_no_record_is_refused(raw: bytes) -> None:
    """By one kind of error, whatever is wrong with it."""
    with pytest.raises(ValueError, match=r".+"):
        Lesson.from_json(raw)
    with pytest.raises(ValueError, match=r".+"):
        RequestRecord.from_json(raw)


def test_a_request_has_spent_what_its_failed_tries_have_cost_too() -> None:
    """An unknown cost adds nothing; the answer's own attempt is not counted twice."""
    tries = (Attempt("maker/other", "timeout", 1.0, spent=True, cost_usd=0.25), *OUTCOME.attempts)
    unknown = Attempt("maker/third", "broken", 1.0, spent=True, cost_usd=None)
    assert replace(OUTCOME, cost_usd=0.5, attempts=(*tries, unknown)).spent_usd == pytest.approx(0.75)
    assert replace(OUTCOME, cost_usd=None, attempts=tries).spent_usd == pytest.approx(0.25)


def test_only_an_answer_of_the_explored_arm_is_paid_from_the_budget() -> None:
    """A fallback would have cost the same without exploration."""
    views = (replace(VIEW, utility=0.1), replace(VIEW, arm="maker/best", utility=0.9))
    explored = replace(DECISION, ranked=("maker/model", "maker/best"), views=views)
    record = replace(RECORD, decision=explored)
    assert record.explored_usd == pytest.approx(1e-3)
    assert replace(record, outcome=replace(OUTCOME, arm="maker/best")).explored_usd == 0
