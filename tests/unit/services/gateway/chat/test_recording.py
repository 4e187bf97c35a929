"""The record of a finished chat request: what is stored of it, and what its log line says."""

from __future__ import annotations

import numpy as np
import pytest

from services.gateway.chat.context import Gathered
from services.gateway.chat.journal import Ending
from services.gateway.chat.recording import effective, log_fields, record_of
from shared.bandit.context import Context
from shared.bandit.decision import Decision, DecisionKind
from shared.schemas.quota import Charge, Limits, Toll
from shared.schemas.records import Attempt, Outcome, RequestRecord, Status
from shared.schemas.tool_loops import awaited_keys
from tests.support.chat_plans import CHOSEN, DECISION, NOW, SECOND, a_plan
from tests.support.fakes.gateway import chat, new_request
from tests.support.values import replace

ENDING = Ending(Status.ANSWERED)
OUTCOME = Outcome(
    Status.ANSWERED, CHOSEN, 0.25, "upstream", 12, 34, 0.0123456, 2.34567, None, streamed=False,
    attempts=(Attempt(SECOND, "timeout", 1.0, spent=True), Attempt(CHOSEN, None, 1.3, spent=True)),
)  # fmt: skip
DAY = "2026-11-18"
CHARGE = Charge(Limits(requests=6, tokens=600, nano_usd=10**9), 150, 20_000, DAY)
FALLBACK = Decision(DecisionKind.FALLBACK, (CHOSEN, SECOND), 0.5, 0.75, "for a test")
VECTOR = np.array([0.6, 0.8], dtype=np.float32)


def test_a_record_has_every_part_of_plan_and_outcome() -> None:
    """Ids, owner, model named by the client, context, decision, shadow decision, charge, conversation, settings."""
    shadow = Decision(DecisionKind.LOCAL, (SECOND,), 1.0, 0.5, "not followed")
    request = new_request("client-1", owner="k" * 16, session="0a1b", started=100.0)
    plan = a_plan(
        chat=chat("What is new?", model="a/small"),
        request=request,
        gathered=Gathered(Context(VECTOR), "static-2", ("qdrant",)),
        shadow=shadow,
        charge=CHARGE,
        charged_in_redis=True,
    )
    entry = record_of(plan, OUTCOME, ENDING, settings_hash="abc", chars=7)
    assert entry.record == RequestRecord(
        id=request.own_id,
        public_id="client-1",
        owner="k" * 16,
        created_at=NOW,
        requested_model="a/small",
        embedding_model="static-2",
        decision=DECISION,
        outcome=OUTCOME,
        settings_hash="abc",
        session="0a1b",
        shadow=shadow,
        toll=Toll(DAY, 150, 20_000),
    )
    assert entry.vector is VECTOR
    assert (entry.prompt, entry.calls) == ("What is", ())


def test_a_bare_request_has_a_bare_record() -> None:
    """Without the client's id, context, charge or stored prompt."""
    plan = a_plan()
    entry = record_of(plan, OUTCOME, ENDING, settings_hash="abc", chars=0)
    record = entry.record
    assert record.public_id == record.id == plan.request.own_id
    assert (record.owner, record.requested_model, record.embedding_model) == ("public", None, None)
    assert (record.session, record.shadow, record.toll) == (None, None, None)
    assert (entry.vector, entry.prompt) == (None, None)


@pytest.mark.parametrize(
    ("status", "arm", "decision"),
    [
        (Status.ANSWERED, SECOND, FALLBACK),
        (Status.TRUNCATED, SECOND, FALLBACK),
        (Status.CANCELLED, SECOND, FALLBACK),
        (Status.ANSWERED, CHOSEN, DECISION),
        (Status.FAILED, SECOND, DECISION),
    ],
)
def test_an_answer_by_another_arm_is_a_fallback(status: Status, arm: str, decision: Decision) -> None:
    """Where no arm answered, the decision stays as it was made."""
    entry = record_of(a_plan(), replace(OUTCOME, status=status, arm=arm), ENDING, settings_hash="", chars=0)
    assert entry.record.decision == decision
    assert effective(DECISION, SECOND) == FALLBACK
    assert effective(DECISION, CHOSEN) is DECISION


def test_a_charge_that_this_gateway_kept_is_settled_with_nothing() -> None:
    """Redis was not charged, so its buckets get nothing back."""
    plan = a_plan(charge=CHARGE, charged_in_redis=False)
    assert record_of(plan, OUTCOME, ENDING, settings_hash="", chars=0).record.toll == Toll(DAY, None, 0)


def test_tool_calls_are_stored_under_the_keys_that_their_results_look_for() -> None:
    """The request with a call's result finds the model that made the call."""
    plan = a_plan()
    entry = record_of(plan, OUTCOME, Ending(Status.ANSWERED, calls=("call-1", "call-2")), settings_hash="", chars=0)
    call = {"id": "call-2", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages = [*plan.chat.body["messages"], {"role": "assistant", "tool_calls": [call]}]  # type: ignore[misc]  # a list
    later = chat(messages=[*messages, {"role": "tool", "tool_call_id": "call-2", "content": "it rains"}])
    assert set(awaited_keys(later.body)) <= set(entry.calls)
    assert len(set(entry.calls)) == 4


def test_the_log_line_says_what_became_of_the_request() -> None:
    """Names and rounded numbers; parts that say nothing are left out."""
    fields = log_fields(a_plan(), DECISION, OUTCOME)
    assert fields == {
        "outcome": "answered",
        "model": CHOSEN,
        "decision": "global",
        "propensity": 0.5,
        "attempts": 2,
        "cost_usd": 0.25,
        "prompt_tokens": 12,
        "completion_tokens": 34,
        "overhead_ms": 12.35,
        "upstream_ms": 2345.7,
        "stream": False,
    }
    unusual = replace(DECISION, degraded=("qdrant", "redis"), session=True, exploration="spent", propensity=1 / 3)
    shadow = Decision(DecisionKind.LOCAL, (SECOND,), 1.0, 0.5, "not followed")
    more = {"degraded": "qdrant,redis", "session": "held", "exploration": "spent", "shadow": SECOND}
    assert log_fields(a_plan(shadow=shadow), unusual, OUTCOME) == fields | {"propensity": 0.333333} | more
