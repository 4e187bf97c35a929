"""Counters and histograms with cached children show what the library's show."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from shared import metrics


def shown(registry: CollectorRegistry) -> list[str]:
    """Return the lines but for the moment at which each was made."""
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


def test_they_show_what_the_librarys_show() -> None:
    """At each bound, beside it, beyond the last, and with labels."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    for registry, counter, histogram in (
        (ours, metrics._Counter, metrics._Histogram),
        (theirs, Counter, Histogram),
    ):
        counted = counter("counted", "Counted", ("kind",), registry=registry)
        plain = counter("plain", "Plain", registry=registry)
        taken = histogram("taken", "Taken", ("kind",), buckets=metrics.SHORT_S, registry=registry)
        for value in (0.0, *metrics.SHORT_S, 0.00051, 0.7, 99.0, float("inf")):
            taken.labels("a").observe(value)
            counted.labels("b").inc(value)
            plain.inc()
    assert shown(ours) == shown(theirs)
