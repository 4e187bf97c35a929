"""The bench says of each target whether a run met it, and never more than the run showed."""

from __future__ import annotations

import os

import pytest

from benchmarks.load import goals
from benchmarks.load.findings import PROFILED, Findings
from benchmarks.load.goals import LEAST, MOST, ROUTER, Goal
from benchmarks.load.measure import Sample
from benchmarks.load.processes import kept_to
from benchmarks.load.report import tables
from benchmarks.load.targets import BARE, DIRECT, OFF, UNIQUE


def sample(target: str, connections: int, cpu_us: float, p50_ms: float = 1.0) -> Sample:
    parts_us = {"upstream": 1.0, **dict.fromkeys(ROUTER, 100.0), "gateway": cpu_us}
    return Sample(target, connections, 1e6 / cpu_us, p50_ms, 2 * p50_ms, p50_ms, cpu_us, parts_us, 0)


@pytest.mark.parametrize(("figure", "met"), [(1.9, False), (2.0, True), (2.1, True), (None, None)])
def test_a_goal_is_met_from_its_bound_on(figure: float | None, met: bool | None) -> None:
    """At least and at most mirror one another; what was not measured is neither met nor missed."""
    assert Goal("x", LEAST, 2.0, figure).met is met
    assert Goal("x", MOST, -2.0, None if figure is None else -figure).met is met


def test_nothing_measured_is_nothing_met() -> None:
    """Every target has its row all the same."""
    rows = goals.rows(Findings({}))
    assert {row[2] for row in rows} == {"not measured"}
    assert not any("met" in row[3] for row in rows)


def test_ratios_are_made_within_a_round() -> None:
    """A machine that is half as fast in one round changes no ratio."""
    found = Findings({})
    for slow in (1.0, 2.0, 1.0):
        found.rounds.append([sample(BARE, PROFILED, 100 * slow), sample(OFF, PROFILED, 200 * slow),
                             sample(UNIQUE, PROFILED, 500 * slow)])  # fmt: skip
    figures = [goal.figure for goal in goals.goals(found)]
    assert figures[:4] == [pytest.approx(0.5), pytest.approx(0.2), None, None]


def test_a_routed_answer_costs_what_all_processes_of_the_router_took() -> None:
    """Upstream and client are not counted."""
    found = Findings({})
    found.rounds.append([sample(DIRECT, PROFILED, 5), sample(BARE, PROFILED, 100), sample(UNIQUE, PROFILED, 450)])
    (goal,) = [goal for goal in goals.goals(found) if goal.bound == 900]
    assert (goal.side, goal.figure, goal.met) == (MOST, 850.0, True)
    assert "learner | 850 |" in tables(found)


def test_the_page_has_what_was_measured() -> None:
    """Targets, answers, and the tables of other parts; without a peer there is none."""
    found = Findings({"processor": "some"}, figures={"memory": 91.0})
    found.rounds.append([sample(DIRECT, 1, 5, 0.1), sample(BARE, 1, 100, 0.5), sample(UNIQUE, 1, 900, 2.0)])
    text = tables(found)
    assert "≤ 150 MB | 91 MB | met" in text
    assert "≤ 3 ms | 1.9 ms | met" in text
    assert "LiteLLM, per core | ≥ 25 | not measured" in text


def test_what_is_measured_later_has_all_cores_again() -> None:
    """Else embedder and callers, and all of a second rig, would share one."""
    before = os.sched_getaffinity(0)
    with kept_to((min(before),)):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before
