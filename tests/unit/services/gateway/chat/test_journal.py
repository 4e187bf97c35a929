"""Journal of a request's calls, and the bill and the outcome that follow from it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from services.gateway.chat.journal import (
    ASSUMED_TOKENS,
    CHARS_PER_TOKEN,
    NO_BILL,
    Bill,
    Ending,
    Journal,
    bill_of,
    outcome_of,
    unanswered_usd,
)
from services.gateway.chat.plan import ChatPlan
from shared.bandit.arms import Price
from shared.errors import Scope, UpstreamError
from shared.schemas.answer_parts import AnswerChoice
from shared.schemas.records import Attempt, Outcome, Status
from shared.schemas.upstream import Usage
from tests.support.chat_plans import CHOSEN, SECOND, a_plan
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.gateway import chat

PRICE = Price(prompt_usd=1e-6, completion_usd=1e-5)
BILL = Bill(0.25, "upstream", 12, 34)
STREAMED = a_plan(chat=chat(stream=True))


def own_count(plan: ChatPlan) -> int:
    """Return our own estimate of the prompt's tokens."""
    return len(orjson.dumps(plan.chat.body["messages"])) // CHARS_PER_TOKEN


def journal_of(plan: ChatPlan, clock: FakeClock | None = None) -> Journal:
    return Journal(plan, clock or FakeClock())


# -- calls ----------------------------------------------------------------------------------------------------------


def test_our_own_time_ends_with_the_first_call() -> None:
    """Overhead counts from the body's last byte; the time of failed calls is not ours."""
    clock = FakeClock()
    journal = journal_of(a_plan(), clock)
    clock.advance(100.5 - clock.monotonic())
    assert journal.begin()
    clock.advance(3.0)
    journal.failed(UpstreamError("refused"), 0.0)
    clock.advance(2.0)
    assert not journal.begin()
    assert journal.overhead_s == 0.5
    clock.advance(0.25)
    journal.first_token()
    assert (journal.first_token_s, journal.elapsed_s()) == (0.25, 0.25)


def test_a_failed_call_is_an_attempt_with_all_that_its_error_says() -> None:
    """Its time, word, cost, scope and feature; a fault of ours counts as billed, for the upstream may have answered."""
    clock = FakeClock()
    journal = journal_of(a_plan(), clock)
    journal.begin()
    clock.advance(1.5)
    journal.failed(UpstreamError("no tools", status=404, scope=Scope.FIT, feature="tools"), 0.125)
    assert not journal.calling
    journal.arm = SECOND
    journal.begin()
    clock.advance(2.0)
    journal.failed(None, None)
    assert journal.attempts == [
        Attempt(CHOSEN, "status_404", 1.5, spent=False, cost_usd=0.125, scope=Scope.FIT, feature="tools"),
        Attempt(SECOND, "internal", 2.0, spent=True, cost_usd=None),
    ]


def test_a_client_that_leaves_between_calls_adds_no_attempt() -> None:
    """Only a call in flight may be billed."""
    journal = journal_of(a_plan())
    journal.cancelled()
    assert journal.attempts == []
    journal.begin()
    journal.cancelled()
    assert journal.attempts == [Attempt(CHOSEN, "cancelled", 0.0, spent=True)]


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (UpstreamError("late", timed_out=True, status=504), "timeout"),
        (UpstreamError("busy", status=429), "status_429"),
        (UpstreamError("nonsense", status=200, spent=True), "bad_answer"),
        (UpstreamError("nonsense", status=600), "bad_answer"),
        (UpstreamError("cut", spent=True), "broken"),
        (UpstreamError("no connection"), "refused"),
    ],
)
def test_the_word_of_a_failure_is_bounded(error: UpstreamError, word: str) -> None:
    """It is a label of a metric."""
    assert error.label == word


# -- the bill -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "price", "bill"),
    [
        (Usage(12, 34, 0.25), PRICE, BILL),
        (Usage(12, 34, 0.25), None, BILL),
        (Usage(12, 34, 0.0), PRICE, Bill(0.0, "upstream", 12, 34)),
        (Usage(12, 34, None), PRICE, Bill(PRICE.cost_usd(12, 34), "price", 12, 34)),
        (Usage(12, 34, None), None, Bill(None, "unknown", 12, 34)),
        (Usage(12, None, None), PRICE, Bill(PRICE.cost_usd(12, 7), "estimate", 12, 7)),
        (Usage(12, None, 0.25), PRICE, Bill(0.25, "upstream", 12, 7)),
    ],
)
def test_a_reported_usage_is_billed(usage: Usage, price: Price | None, bill: Bill) -> None:
    """The reported cost, else reported tokens at list price, else our own count in their place; unknown is not free."""
    plan = a_plan()
    assert bill_of(plan, journal_of(plan), Ending(Status.ANSWERED, usage=usage, own_tokens=7), price) == bill


def test_prompt_tokens_that_are_not_reported_are_estimated() -> None:
    """By the length of the messages."""
    plan = a_plan()
    made = bill_of(plan, journal_of(plan), Ending(Status.ANSWERED, usage=Usage(None, 34, 0.25)), PRICE)
    assert made == Bill(0.25, "upstream", own_count(plan), 34)


@pytest.mark.parametrize("status", [Status.ANSWERED, Status.TRUNCATED])
def test_an_answer_without_usage_is_estimated(status: Status) -> None:
    """Both counts are ours, at list price; without a price the cost is unknown."""
    plan = a_plan()
    prompt = own_count(plan)
    ending = Ending(status, own_tokens=7)
    assert prompt > 10
    assert bill_of(plan, journal_of(plan), ending, PRICE) == Bill(PRICE.cost_usd(prompt, 7), "estimate", prompt, 7)
    assert bill_of(plan, journal_of(plan), ending, None) == Bill(None, "unknown", prompt, 7)


def test_without_an_answer_nothing_is_billed() -> None:
    """Failed calls have estimates of their own; a client that left during a call may still be billed for it."""
    plan = a_plan()
    calling = journal_of(plan)
    calling.begin()
    assert bill_of(plan, calling, Ending(Status.FAILED), PRICE) == NO_BILL
    assert bill_of(plan, journal_of(plan), Ending(Status.CANCELLED, own_tokens=7), PRICE) == NO_BILL
    prompt = own_count(plan)
    billed = bill_of(plan, calling, Ending(Status.CANCELLED, own_tokens=7), PRICE)
    assert billed == Bill(PRICE.cost_usd(prompt, 7), "estimate", prompt, 7)


@pytest.mark.parametrize(
    ("most", "tokens"), [({}, ASSUMED_TOKENS), ({"max_tokens": 3}, 3), ({"max_tokens": 9000}, ASSUMED_TOKENS)]
)
def test_a_call_without_an_answer_is_estimated(most: dict[str, Any], tokens: int) -> None:
    """As an answer of usual length, or of the most that the client allows where that is less."""
    plan = a_plan(chat=chat(**most))
    assert unanswered_usd(plan, PRICE) == PRICE.cost_usd(own_count(plan), tokens)
    assert unanswered_usd(plan, None) is None


# -- the outcome ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "attempt"),
    [
        (Ending(Status.ANSWERED), Attempt(SECOND, None, 2.5, spent=True)),
        (Ending(Status.TRUNCATED, "broken"), Attempt(SECOND, "broken", 2.5, spent=True)),
        (Ending(Status.CANCELLED, "cancelled", own_tokens=1), Attempt(SECOND, "cancelled", 2.5, spent=True)),
        (Ending(Status.CANCELLED), None),
        (Ending(Status.FAILED), None),
    ],
)
def test_an_outcome_has_all_calls_and_their_bill(ending: Ending, attempt: Attempt | None) -> None:
    """The last call is an attempt, too, if anything of an answer came; times and tokens as they were noted."""
    clock = FakeClock()
    journal = journal_of(STREAMED, clock)
    clock.advance(100.5 - clock.monotonic())
    journal.begin()
    journal.failed(UpstreamError("busy", status=429), 0.0)
    journal.arm = SECOND
    journal.begin()
    clock.advance(0.75)
    journal.first_token()
    failed = Attempt(CHOSEN, "status_429", 0.0, spent=False, scope=Scope.ARM)
    assert outcome_of(STREAMED, journal, ending, BILL, 2.5) == Outcome(
        status=ending.status,
        arm=SECOND,
        cost_usd=0.25,
        cost_source="upstream",
        prompt_tokens=12,
        completion_tokens=34,
        overhead_s=0.5,
        upstream_s=2.5,
        first_token_s=0.75,
        streamed=True,
        attempts=(failed,) if attempt is None else (failed, attempt),
        failed_checks=() if ending.status is Status.ANSWERED else None,
    )


def test_an_outcome_names_the_checks_that_its_answer_failed() -> None:
    """Of whole answers only: what was cut by a failure, or given up by the client, is not judged."""
    plan = a_plan()
    empty = (AnswerChoice(finish_reason="stop"),)
    for status, failed in {Status.ANSWERED: ("empty",), Status.TRUNCATED: None, Status.CANCELLED: None}.items():
        made = outcome_of(plan, journal_of(plan), Ending(status, choices=empty), BILL, 1.0)
        assert made.failed_checks == failed


def test_an_unknown_cost_stays_unknown_in_the_outcome() -> None:
    """And a whole answer has no time of a first token."""
    plan = a_plan()
    made = outcome_of(plan, journal_of(plan), Ending(Status.ANSWERED), Bill(None, "unknown", 1, 2), 1.0)
    assert (made.cost_usd, made.cost_source, made.first_token_s, made.streamed) == (None, "unknown", None, False)
