"""The account's circuits: what opens and closes them, which arms are called meanwhile, and with which errors."""

from __future__ import annotations

import math

import pytest

from services.gateway.chat.plan import UNBOUNDED_TOKENS
from shared.errors import UpstreamError
from shared.resilience.upstream_account import ENOUGH, AccountCircuit, Credit
from shared.resilience.upstream_circuits import CircuitBreakers
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.gateway import World, chat, new_request
from tests.support.fakes.use_cases import route
from tests.unit.services.gateway.accounts import NO_CREDIT, NO_KEY

# -- what opens and closes a circuit -----------------------------------------------------------


@pytest.mark.parametrize(
    ("refusals", "opens"),
    [
        ([("a", "1")], False),
        ([("a", "1"), ("b", "1"), ("c", "1")], False),
        ([("a", "1"), ("a", "2"), ("a", "3")], False),
        ([("a", "1"), ("b", "2")], True),
        ([("a", "1"), ("b", "1"), ("a", "2")], True),
    ],
)
def test_a_circuit_opens_on_several_requests_and_several_arms(refusals: list[tuple[str, str]], opens: bool) -> None:
    """One request that all arms refuse, or one arm that refuses all requests, says nothing of the account."""
    circuit = AccountCircuit(FakeClock())
    for arm, request in refusals:
        circuit.failed(arm, request)
    assert circuit.breaker.open is opens
    assert circuit.refused is (len({request for _, request in refusals}) >= ENOUGH)


def test_evidence_is_forgotten_after_a_success_and_after_a_minute() -> None:
    """It has to come in a row, and together."""
    for forget in (AccountCircuit.succeeded, lambda one: one._clock.advance(61.0)):
        circuit = AccountCircuit(FakeClock())
        circuit.failed("a", "1")
        forget(circuit)
        circuit.failed("b", "2")
        assert not circuit.breaker.open
        circuit.failed("a", "3")
        assert circuit.breaker.open


def test_an_open_circuit_is_probed_by_one_request_with_growing_cooldowns() -> None:
    """5 seconds, doubling; the first success closes it."""
    clock = FakeClock()
    circuit = AccountCircuit(clock)
    for arm, request in (("a", "1"), ("b", "2")):
        circuit.failed(arm, request)
    for rest_s in (5.0, 10.0, 20.0):
        assert circuit.breaker.cooldown_s == rest_s
        clock.advance(rest_s)
        assert [circuit.breaker.allows(), circuit.breaker.allows()] == [True, False]
        circuit.failed("a", f"probe-{rest_s}")
    circuit.succeeded()
    assert circuit.breaker.allows()


@pytest.mark.parametrize("status", [200, 402, 404, 408, 429, 500])
def test_any_other_refusal_says_that_the_key_is_fine(status: int) -> None:
    """An answer that concerns something else proves that the key is known. A failed connection proves nothing."""
    arms = CircuitBreakers(FakeClock())
    for number, arm in enumerate("ab"):
        arms.failed(arm, NO_KEY, request=str(number))
    arms.failed("a", UpstreamError("no connection"))
    assert arms.account("a").key.breaker.open
    arms.failed("a", UpstreamError("other", status=status))
    assert not arms.account("a").key.breaker.open


def test_only_an_arm_that_costs_money_shows_that_there_is_credit() -> None:
    """An answer of a free model says nothing of it."""
    arms = CircuitBreakers(FakeClock())
    for number, arm in enumerate("ab"):
        arms.failed(arm, NO_CREDIT, request=str(number), tokens=10)
    arms.succeeded("x:free")
    assert arms.account("a").credit.breaker.open
    assert (arms.cooldown_s("a"), arms.cooldown_s("x:free")) == (5.0, 0.0)
    assert arms.available(("a", "x:free")) == ("x:free",)
    arms.succeeded("a")
    assert not arms.account("a").credit.breaker.open


def test_less_than_what_was_refused_may_still_be_affordable() -> None:
    """A small request is no more of the same; what it is refused counts from then on."""
    credit = Credit(FakeClock())
    for arm, request, tokens in (("a", "1", 5000), ("b", "2", 3000)):
        credit.refuse(arm, request, tokens)
    assert [credit.allows(tokens) for tokens in (2999, 3000, 9000)] == [True, False, False]
    credit.refuse("a", "3", 100)
    assert [credit.allows(tokens) for tokens in (99, 100)] == [True, False]
    credit.succeeded()
    assert credit.allows(math.inf)


def test_what_others_say_of_the_credit_changes_the_order_alone() -> None:
    """Their request may have been dearer than any here. Refusals of our own count as ever."""
    clock = FakeClock()
    arms = CircuitBreakers(clock)
    arms.failed("a", NO_CREDIT, request="long ago", tokens=5)
    clock.advance(61.0)
    arms.merge({"other": {"*credit@": 30.0}})
    assert arms.by_cooldown(("a", "x:free")) == ("x:free", "a")
    assert arms.may_ask("a", lambda: 10, named=False)
    for number, arm in enumerate("ab"):
        arms.failed(arm, NO_CREDIT, request=str(number), tokens=10)
    assert not arms.may_ask("a", lambda: 10, named=False)
    assert "*credit@" in arms.own_findings()


async def test_requested_tokens(paid: World) -> None:
    """Prompt and bound of the answer; without a bound, as many as a long answer has."""
    async with paid.gateway() as gateway:
        for fields, answer in (({"max_tokens": 7}, 7), ({"max_completion_tokens": 9, "max_tokens": 7}, 9),
                               ({}, UNBOUNDED_TOKENS)):  # fmt: skip
            plan = await route(chat("x" * 4000, **fields), new_request(), gateway)
            assert 1000 <= plan.asked_tokens() - answer <= 1400
