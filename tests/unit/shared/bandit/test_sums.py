"""Stored integer sums: what is read, what is refused, and how days are weighted."""

from __future__ import annotations

import math
import random

import pytest

from shared.bandit.arms import Arm, Price
from shared.bandit.learning import failure_sums, feedback_sums, outcome_sums
from shared.bandit.reward import expect
from shared.bandit.stored_sums import WeightedDays, parse_sums, weighted_sums
from shared.bandit.sums import ArmSums, Sums, by_arm
from shared.errors import CorruptState


def stored(**fields: object) -> dict[bytes | str, bytes | str]:
    return {name.encode(): str(value).encode() for name, value in fields.items()}


def test_what_the_learner_writes_is_read_back_in_natural_units() -> None:
    """An answer and its rating come back as USD, seconds and scores, in total and by kind of prompt."""
    outcome = outcome_sums(cost_usd=0.0012, latency_s=1.5, prompt_tokens=10, completion_tokens=20, kind=(3, 5))
    rating = feedback_sums(score=0.75, view=None, kind=(3, 5))
    raw: dict[bytes | str, bytes | str] = {name: str(value) for name, value in (outcome | rating).items()}
    arm = weighted_sums([(1.0, parse_sums(raw))])
    assert arm.total == Sums(
        labels=1, score=0.75, score_sq=0.5625, requests=1, cost_usd=0.0012, latency_s=1.5,
        prompt_tokens=10, completion_tokens=20,
    )  # fmt: skip
    assert arm.kinds[3, 5].score == 0.75
    assert arm.kinds[3, 5].cost_usd == pytest.approx(0.0012)


def test_an_unknown_cost_is_not_a_cost_of_nothing() -> None:
    """It has a count of its own, and means are over the others; hashes without that count are read as before."""
    known = outcome_sums(cost_usd=0.5, latency_s=1.0, prompt_tokens=100, completion_tokens=100, kind=(0, 1))
    unknown = outcome_sums(cost_usd=None, latency_s=3.0, prompt_tokens=0, completion_tokens=0, kind=(0, 1))
    both = weighted_sums([(1.0, known), (1.0, unknown)])
    for sums in (both.total, both.kinds[0, 1]):
        assert (sums.requests, sums.priced, sums.cost_usd, sums.latency_s) == (2, 1, 0.5, 4.0)
    (arm,) = (Arm("x/a", Price(1e-3, 1e-3)),)
    assert expect([arm], [both.total], 0).cost_usd == expect([arm], [weighted_sums([(1.0, known)]).total], 0).cost_usd
    assert expect([arm], [both.total], 0).latency_s == [2.0]
    assert weighted_sums([(1.0, parse_sums(stored(requests=4, cost_nanousd=8)))]).total.priced == 4


def test_a_contribution_may_span_several_arms() -> None:
    """Failures belong to the arms that failed; the request's own arm needs no name."""
    sums = failure_sums(["x/b", "x/a", "x/b", 'x/"|"'], "x/a") | {"requests": 1}
    assert by_arm("x/a", sums) == {
        "x/a": {"failures": 1, "requests": 1},
        "x/b": {"failures": 2},
        'x/"|"': {"failures": 1},
    }


@pytest.mark.parametrize(
    "fields",
    [
        stored(requests=1, unpriced=2),
        stored(labels="1.5"),
        stored(labels="nan"),
        stored(labels=""),
        stored(labels="1e3"),
        stored(labels="٣"),
        stored(labels="99999999999999999999"),
        stored(labels=-1),
        stored(labels=1, score_micro=-1),
        stored(labels=1, score_micro=1_000_001),
        stored(score_micro=1),
        stored(labels=1, score_sq_micro=1_000_001),
        stored(labels=1, local_gain_micro=-17_000_000),
        stored(labels=1, local_gain_sq_micro=-1),
        stored(cost_nanousd=1),
        stored(requests=1, cost_nanousd=10**14),
        stored(requests=1, latency_us=10**14),
        {"labels": "1", "labels@0.1": "2"},
        {"labels": "1", "labels~3": "1", "surprises~3": "1", "surprise_micro~3": "-2000001"},
        {"labels": "5", "labels@0.1": "1", "score_micro": "5000000", "score_micro@0.1": "1000001"},
    ],
)
def test_damage_is_refused(fields: dict[bytes | str, bytes | str]) -> None:
    """A hash that no sequence of events could have made raises CorruptState instead of steering decisions."""
    with pytest.raises(CorruptState):
        parse_sums(fields)


def test_fields_of_a_newer_version_are_left_out() -> None:
    """A newer learner may add fields without breaking gateways that do not know them."""
    assert parse_sums({"labels": "1", "nps_micro": "abc", "labels@x": "7"}) == {"labels": 1}


def test_a_gain_may_be_negative() -> None:
    """The local estimate may have predicted worse than the global one."""
    assert parse_sums(stored(labels=1, local_gain_micro=-5))["local_gain_micro"] == -5


def test_days_are_weighted_and_their_order_changes_no_bit() -> None:
    """Recency multiplies a day's sums; adding the days in another order gives identical floats."""
    days = [(0.5 ** (age / 7), {"labels": 3, "score_micro": 1_234_567 + age}) for age in range(31)]
    assert weighted_sums(days) == weighted_sums(reversed(days))
    assert weighted_sums(days).total.labels == pytest.approx(math.fsum(3 * weight for weight, _ in days), rel=1e-9)


def test_a_day_that_changes_leaves_no_trace_of_what_it_was() -> None:
    """Replaced and removed in any order, the sums are those of the days there are, bit for bit."""
    rng = random.Random(1)
    weighted, now = WeightedDays(), dict[int, dict[str, int]]()
    for step in range(200):
        day = rng.randrange(9)
        if rng.random() < 0.2:
            weighted.remove(day)
            now.pop(day, None)
        else:
            at = rng.choice(("", "@1.2", "@1.7", "~3", "@1.7~3"))
            now[day] = {"labels": 9, f"labels{at}": 1 + step % 5, f"score_micro{at}": rng.randrange(10**6)}
            weighted.replace(day, 0.7**day, now[day])
        assert weighted.sums == weighted_sums((0.7**day, sums) for day, sums in now.items())
    assert weighted.sums.kinds
    assert weighted.sums.kind_blocks


def test_nothing_is_nothing() -> None:
    """An arm without days has empty sums."""
    assert weighted_sums([]) == ArmSums()
