"""Accounts at several upstreams: what one refuses says nothing of the others."""

from __future__ import annotations

from services.gateway.chat.fallback import call_order
from shared.bandit.decision import Decision, DecisionKind
from shared.resilience.upstream_circuits import CircuitBreakers
from tests.support.fakes.clock import FakeClock
from tests.unit.services.gateway.accounts import CAPPED, NO_CREDIT, NO_KEY


def circuits() -> CircuitBreakers:
    """Return circuits of arms that are named `upstream/number`."""
    return CircuitBreakers(FakeClock(), upstream_of=lambda arm: arm.partition("/")[0])


def order_of(*arms: str, others: tuple[str, ...] = (), private: bool = False) -> tuple[str, ...]:
    decision = Decision(DecisionKind.GLOBAL, arms, propensity=1.0, confidence=1.0, reason="")
    return call_order(decision, circuits(), None, others, private=lambda _: private)


def test_a_refused_key_credit_or_free_limit_concerns_its_upstream() -> None:
    arms = circuits()
    for number in "12":
        arms.failed(f"a/{number}", NO_KEY, request=number)
        arms.failed(f"b/{number}", NO_CREDIT, request=number, tokens=10)
    arms.failed("c/1:free", CAPPED)
    assert [arms.account_at(name).key.breaker.open for name in "abc"] == [True, False, False]
    assert [arms.cooldown_s(f"{name}/9") for name in "abc"] == [0.0, 5.0, 0.0]
    assert [arms.cooldown_s(f"{name}/9:free") > 0 for name in "abc"] == [False, False, True]
    assert arms.first_of(("b/9", "a/9")) == "a/9"


def test_other_gateways_learn_whose_account_it_is() -> None:
    arms, other = circuits(), circuits()
    for number in "12":
        arms.failed(f"a/{number}", NO_KEY, request=number)
        arms.failed(f"b/{number}", NO_CREDIT, request=number, tokens=10)
    arms.failed("c/1:free", CAPPED)
    assert set(arms.own_findings()) == {"*@a", "*credit@b", "*free@c"}
    other.merge({"gateway": arms.own_findings()})
    assert [other.account_at(name).key.breaker.open for name in "abc"] == [True, False, False]
    assert [other.cooldown_s(f"{name}/9") > 0 for name in "abc"] == [False, True, False]
    assert [other.cooldown_s(f"{name}/9:free") > 0 for name in "abc"] == [False, False, True]


def test_one_of_the_arms_to_call_is_of_another_upstream() -> None:
    assert order_of("a/1", "a/2", "a/3", "a/4", "a/5", others=("b/1",)) == ("a/1", "a/2", "a/3", "b/1")
    assert order_of("a/1", "b/1", "a/2", "a/3", "b/2") == ("a/1", "b/1", "a/2", "a/3")
    assert order_of("a/1", "a/2", "a/3", "a/4", "a/5") == ("a/1", "a/2", "a/3", "a/4")


def test_the_prompt_of_a_private_arm_stays_with_its_upstream() -> None:
    assert order_of("a/1", "b/1", "a/2", private=True) == ("a/1", "a/2")
    assert order_of("a/1", "b/1", others=("c/1",), private=True) == ("a/1", "a/1")
