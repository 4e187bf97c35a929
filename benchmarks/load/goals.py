"""Performance goals, and whether a run meets them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.load.findings import PROFILED, Cell, Findings
from benchmarks.load.measure import Sample
from benchmarks.load.targets import BARE, CHUNKS, DIRECT, OFF, STREAMS, UNIQUE, asleep, stream_of

LEAST, MOST = "≥", "≤"
LITELLM, PORTKEY = "LiteLLM", "Portkey"
ROUTER = ("gateway", "qdrant", "redis", "embedder", "learner")
"""The processes of the router."""
Figure = Callable[[Sample, Sample], float]


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal: a lower or upper bound of a figure."""

    what: str
    side: str
    bound: float
    figure: float | None
    unit: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None when not measured."""
        if self.figure is None:
            return None
        return self.figure >= self.bound if self.side == LEAST else self.figure <= self.bound


def goals(found: Findings) -> list[Goal]:
    """Return every goal with its figure."""
    return [*_ratios(found), *_latencies(found), *_others(found)]


def rows(found: Findings) -> list[tuple[str, ...]]:
    """Return the goals as rows of a table."""
    return [
        (
            goal.what,
            f"{goal.side} {goal.bound:g}{goal.unit}",
            "not measured" if goal.figure is None else f"{goal.figure:,.4g}{goal.unit}",
            {True: "met", False: "**not met**", None: ""}[goal.met],
        )
        for goal in goals(found)
    ]


def _ratios(found: Findings) -> list[Goal]:
    def against(name: str, other: str) -> float | None:
        return _of_both(found, (name, PROFILED), (other, PROFILED), lambda a, b: b.cpu_us / a.cpu_us)

    return [
        Goal("routing off against the bare proxy, per core", LEAST, 0.6, against(OFF, BARE)),
        Goal("routing on, unique prompts, against the bare proxy, per core", LEAST, 0.25, against(UNIQUE, BARE)),
        Goal("the same against LiteLLM, per core", LEAST, 25, against(UNIQUE, LITELLM)),
        Goal("the same against Portkey, per core", LEAST, 1, against(UNIQUE, PORTKEY)),
    ]


def _latencies(found: Findings) -> list[Goal]:
    long, many = (stream_of(UNIQUE, CHUNKS + 1), STREAMS), (stream_of(UNIQUE, 1), STREAMS)
    chunk = _of_both(found, long, many, lambda a, b: (a.cpu_us - b.cpu_us) / CHUNKS)
    whole = (UNIQUE, PROFILED)
    all_us = found.median(whole, router_us) if whole in found.cells() else None
    return [
        *_added(found, "", lambda name: name),
        *_added(found, ", cores asleep between", asleep),
        Goal("processor time of a routed answer, all processes of the router", MOST, 900, all_us, " us"),
        Goal("processor time of a chunk", MOST, 30, chunk, " us"),
    ]


def router_us(sample: Sample) -> float:
    """Return the processor time of all processes of the router per answer."""
    return sum(sample.parts_us[name] for name in ROUTER)


def _added(found: Findings, how: str, named: Callable[[str], str]) -> list[Goal]:
    """Return the latency added to direct calls of the upstream, one at a time."""
    whole = (named(UNIQUE), 1), (named(DIRECT), 1)
    stream = (named(stream_of(UNIQUE, 1)), 1), (named(stream_of(DIRECT, 1)), 1)
    p50 = _of_both(found, *whole, lambda a, b: a.p50_ms - b.p50_ms)
    p99 = _of_both(found, *whole, lambda a, b: a.p99_ms - b.p99_ms)
    first = _of_both(found, *stream, lambda a, b: a.first_p50_ms - b.first_p50_ms)
    return [
        Goal(f"added latency, routing on, one at a time, median{how}", MOST, 3, p50, " ms"),
        Goal(f"the same, 99th percentile{how}", MOST, 8, p99, " ms"),
        Goal(f"added time to a stream's first token, one at a time, median{how}", MOST, 3, first, " ms"),
    ]


def _others(found: Findings) -> list[Goal]:
    figure = found.figures.get
    return [
        Goal(
            "embedder by HTTP against fastembed's own loop, static model, per core",
            LEAST,
            0.5,
            figure("embedder static"),
        ),
        Goal("the same, MiniLM", LEAST, 0.9, figure("embedder all-MiniLM-L6-v2")),
        Goal("search and decision, p50 at the most points against 1,000", MOST, 1.5, figure("search growth")),
        Goal("learner, events a second", LEAST, 3000, figure("learner events")),
        Goal("learner, longest lag at 1,000 requests a second", MOST, 1, figure("learner lag"), " s"),
        Goal("gateway's memory after 100,000 requests", MOST, 150, figure("memory"), " MB"),
        Goal("its growth over the last 90,000 of them", MOST, 5, figure("memory growth"), " %"),
    ]


def _of_both(found: Findings, cell: Cell, other: Cell, figure: Figure) -> float | None:
    measured = found.cells()
    return found.against(cell, other, figure) if cell in measured and other in measured else None
