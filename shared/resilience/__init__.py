"""Resilience: circuit breaker, coalescer of calls, and supervision of background loops."""
