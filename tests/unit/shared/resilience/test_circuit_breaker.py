"""`CircuitBreaker` after it has closed again: as if it had never been open."""

from __future__ import annotations

from shared.resilience.circuit_breaker import CircuitBreaker, Window
from tests.support.fakes.clock import FakeClock


def test_after_a_success_the_pause_is_short_again() -> None:
    """Pauses double while probes fail; a probe that succeeds ends that."""
    clock = FakeClock()
    breaker = CircuitBreaker(clock, threshold=1, first_cooldown_s=1.0, max_cooldown_s=8.0)
    breaker.failed()
    for _ in range(3):
        clock.advance(8.0)
        assert breaker.allows()
        breaker.failed()
    clock.advance(8.0)
    assert breaker.allows()
    breaker.succeeded()
    breaker.failed()
    clock.advance(1.0)
    assert breaker.allows()


def test_failures_from_before_it_opened_do_not_open_it_again() -> None:
    """Its window is empty when it closes, so half of the next calls is half of twenty."""
    clock = FakeClock()
    breaker = CircuitBreaker(clock, threshold=100, first_cooldown_s=1.0, window=Window(20, 1000.0))
    for _ in range(20):
        breaker.failed()
    assert breaker.open
    clock.advance(1.0)
    assert breaker.allows()
    breaker.succeeded()
    for _ in range(10):
        breaker.failed()
    assert not breaker.open
