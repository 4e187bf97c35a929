"""Circuit breakers of arms: what opens them, for how long, and the budget of retries."""

from __future__ import annotations

from services.gateway.chat.fallback import call_order
from services.gateway.limits.retry_budget import AT_LEAST, RetryBudget, Tries
from shared.bandit.decision import Decision, DecisionKind
from shared.errors import Scope, UpstreamError
from shared.resilience.circuit_breaker import CircuitBreaker, Window
from shared.resilience.upstream_circuits import CircuitBreakers
from tests.support.fakes.clock import FakeClock

BROKEN = UpstreamError("broke off", spent=True)


def fail(arms: CircuitBreakers, arm: str, times: int = 1, error: UpstreamError = BROKEN) -> None:
    for _ in range(times):
        arms.failed(arm, error)


def test_half_of_the_last_calls_open_a_circuit_if_they_are_recent() -> None:
    """Ten of twenty within ten seconds; the same ten spread over a longer time are bad luck."""
    for pause_s, opens in ((0.1, True), (1.0, False)):
        clock = FakeClock()
        breaker = CircuitBreaker(clock, threshold=5, first_cooldown_s=5.0, window=Window(20, 10.0))
        for number in range(20):
            clock.advance(pause_s)
            (breaker.failed if number % 2 else breaker.succeeded)()
        assert breaker.open is opens


def test_a_circuit_that_closed_again_has_a_clean_record() -> None:
    """What happened before a probe succeeded is not held against the arm."""
    clock = FakeClock()
    breaker = CircuitBreaker(clock, threshold=5, first_cooldown_s=5.0, window=Window(20, 10.0))
    for _ in range(5):
        breaker.failed()
    clock.advance(5.0)
    assert breaker.state == "half_open"
    assert breaker.allows()
    assert breaker.state == "open"
    breaker.succeeded()
    assert breaker.state == "closed"
    for _ in range(4):
        breaker.failed()
    assert breaker.state == "closed"


def test_calls_under_way_when_a_circuit_opens_do_not_lengthen_its_rest() -> None:
    """Only a failed probe doubles it: otherwise busy times would always end at the maximum."""
    clock = FakeClock()
    breaker = CircuitBreaker(clock, threshold=5, first_cooldown_s=5.0, max_cooldown_s=60.0)
    for _ in range(50):
        breaker.failed()
    assert breaker.cooldown_s == 5.0
    for rest_s in (10.0, 20.0, 40.0, 60.0, 60.0):
        clock.advance(breaker.cooldown_s)
        assert breaker.allows()
        breaker.failed()
        assert breaker.cooldown_s == rest_s


def test_an_arm_that_keeps_failing_is_called_last_and_then_probed_by_one_request() -> None:
    """Five in a row open its circuit: 5 s behind all others; then one request tries it, the next does not."""
    clock = FakeClock()
    arms = CircuitBreakers(clock)
    fail(arms, "a", 5)
    assert arms.circuit("a") == "open"
    assert arms.available(("a", "b")) == ("b",)
    assert arms.begin(("a", "b")) == "b"
    clock.advance(5.0)
    assert arms.circuit("a") == "half_open"
    assert arms.begin(("a", "b")) == "a"
    assert arms.begin(("a", "b")) == "b", "one probe at a time"
    arms.succeeded("a")
    assert arms.begin(("a", "b")) == "a"


def test_if_all_arms_cool_down_the_one_with_the_shortest_cooldown_is_called() -> None:
    """Trying beats refusing."""
    arms = CircuitBreakers(FakeClock())
    arms.cool_down("a", 30)
    arms.cool_down("b", 10)
    fail(arms, "c", 5)
    assert arms.begin(("a", "b", "c")) == "c"
    assert arms.by_cooldown(("a", "b", "c")) == ("c", "b", "a")


def test_second_tries_are_a_share_of_what_is_under_way_and_three_at_least() -> None:
    """20 % of 40 are 8; of 5 they are 3; a place is held once a request and given back at its end."""
    for active, most in ((5, AT_LEAST), (40, 8)):
        budget = RetryBudget(0.2)
        requests = [Tries(budget).__enter__() for _ in range(active)]
        assert sum(request.again() for request in requests) == most
        assert [request.again() for request in requests] == [True] * most + [False] * (active - most)
        for request in requests:
            request.__exit__()
        assert (budget.active, budget.retrying) == (0, 0)


def test_the_last_resort_has_a_place_among_the_calls() -> None:
    """However many models were ranked before it; a single model is called twice, and a named one alone."""
    arms = CircuitBreakers(FakeClock())
    ranked = tuple(f"arm/{number}" for number in range(9))
    decision = Decision(DecisionKind.GLOBAL, ranked, 0.5, 0.5, "for a test")
    assert call_order(decision, arms, "last/resort", ranked) == (*ranked[:3], "last/resort")
    assert call_order(decision, arms, None, ranked) == ranked[:4]
    pinned = Decision(DecisionKind.PINNED, ("a",), 1.0, 1.0, "for a test")
    assert call_order(pinned, arms, "last/resort", ranked) == ("a", "a")


def test_a_broken_call_differs_from_one_that_was_never_made() -> None:
    """The first may have cost money."""
    assert UpstreamError("x", spent=True).label == "broken"
    assert UpstreamError("x").label == "refused"
    assert UpstreamError("x", spent=True, timed_out=True).label == "timeout"
    assert UpstreamError("x", status=503).label == "status_503"


def test_requests_that_do_not_fit_open_no_circuit() -> None:
    """Neither the model nor the request is at fault."""
    arms = CircuitBreakers(FakeClock())
    fail(arms, "a", 30, UpstreamError("too long", status=400, scope=Scope.FIT))
    assert arms.circuit("a") == "closed"
    assert arms.cooldown_s("a") == 0
    fail(arms, "a", 30)
    assert arms.circuit("a") == "open"
