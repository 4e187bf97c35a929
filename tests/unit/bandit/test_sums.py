"""Stored integer sums: what is read, what is refused, and how days are weighted."""

from __future__ import annotations

import math

import pytest

from shared.bandit.learning import feedback_sums, outcome_sums
from shared.bandit.sums import ArmSums, Sums, parse_sums, weighted_sums
from shared.errors import CorruptState


def stored(**fields: object) -> dict[bytes | str, bytes | str]:
    return {name.encode(): str(value).encode() for name, value in fields.items()}


def test_what_the_learner_writes_is_read_back_in_natural_units() -> None:
    """An answer and its rating come back as USD, seconds and scores, in total and by cluster."""
    outcome = outcome_sums(
        answered=True, cost_usd=0.0012, latency_s=1.5, prompt_tokens=10, completion_tokens=20, cluster=(3, 5)
    )
    rating = feedback_sums(score=0.75, view=None, cluster=(3, 5))
    raw: dict[bytes | str, bytes | str] = {name: str(value) for name, value in (outcome | rating).items()}
    arm = weighted_sums([(1.0, parse_sums(raw))])
    assert arm.total == Sums(1, 0.75, 0.5625, 0, 0, 1, 0, 0.0012, 1.5, 10, 20)
    assert arm.clusters[3, 5].score == 0.75
    assert arm.clusters[3, 5].cost_usd == pytest.approx(0.0012)


@pytest.mark.parametrize(
    "fields",
    [
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
        stored(cost_nanousd=1),
        stored(requests=1, cost_nanousd=10**14),
        stored(requests=1, latency_us=10**14),
        {"labels": "1", "labels@0.1": "2"},
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
    assert weighted_sums(days).total.labels == math.fsum(3 * weight for weight, _ in days)


def test_nothing_is_nothing() -> None:
    """An arm without days has empty sums."""
    assert weighted_sums([]) == ArmSums()
