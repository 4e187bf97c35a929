"""Figures of the traffic: what one request adds to the sums of its minute, its hour and its day."""

from __future__ import annotations

import math

from shared.bandit.decision import DecisionKind
from shared.bandit.sums import MICRO, NANO
from shared.schemas.records import Outcome, RequestRecord, Status

STEPS_PER_DOUBLING = 4
"""Classes of durations per factor of 2: a quantile is known to 9 %."""


def figures_of(record: RequestRecord) -> dict[str, int]:
    """Return the figures of a request, each field with its model: `<measure>|<arm>`. Scores are added when they come.

    `regret_micro` is how much higher the expected utility of the best model was than that of the model that served;
    `lift_micro` of any model is how much higher that of the model that served was. They are those of the decision, and
    only of requests that the policy routed (`decisions`).
    """
    outcome, decision = record.outcome, record.decision
    counted = _counted(outcome) | {
        "explored": int(decision.explored and outcome.arm == decision.arm),
        "fallback": int(outcome.arm != decision.arm),
        "degraded": int(bool(decision.degraded)),
    }
    fields = {f"{name}|{outcome.arm}": amount for name, amount in counted.items() if amount}
    for attempt in outcome.attempts:
        if attempt.error is not None and attempt.blames_arm:
            name = f"errors|{attempt.arm}"
            fields[name] = fields.get(name, 0) + 1
    return fields | _expected(record)


def spend_of(record: RequestRecord) -> dict[str, int]:
    """Return what a request adds to the day's spending of its owner: `<measure>|<owner>`."""
    outcome = record.outcome
    used = {
        "requests": 1,
        "prompt_tokens": outcome.prompt_tokens,
        "completion_tokens": outcome.completion_tokens,
        "cost_nano": round(outcome.spent_usd * NANO),
        "unknown_costs": int(outcome.cost_usd is None),
    }
    return {f"{name}|{record.owner}": amount for name, amount in used.items() if amount}


def duration_class(duration_s: float) -> int:
    """Return the class of a duration; each is 2^(1/4) times as long as the one before, from 1 µs on."""
    return max(0, math.floor(STEPS_PER_DOUBLING * math.log2(max(duration_s * MICRO, 1.0))))


def duration_of(number: int) -> float:
    """Return the middle of a class, in seconds."""
    return float(2 ** ((number + 0.5) / STEPS_PER_DOUBLING)) / MICRO


def _counted(outcome: Outcome) -> dict[str, int]:
    answered = outcome.status is Status.ANSWERED
    counted = {
        "requests": 1,
        "failed": int(outcome.status is Status.FAILED),
        "truncated": int(outcome.status is Status.TRUNCATED),
        "cancelled": int(outcome.status is Status.CANCELLED),
        "prompt_tokens": outcome.prompt_tokens,
        "completion_tokens": outcome.completion_tokens,
        "cost_nano": round(outcome.spent_usd * NANO),
        "unknown_costs": int(outcome.cost_usd is None),
        "checked": int(outcome.failed_checks is not None),
        "failed_checks": int(bool(outcome.failed_checks)),
        f"overhead:{duration_class(outcome.overhead_s)}": 1,
    }
    return counted | ({f"upstream:{duration_class(outcome.upstream_s)}": 1} if answered else {})


def _expected(record: RequestRecord) -> dict[str, int]:
    decision, arm = record.decision, record.outcome.arm
    served = decision.view(arm)
    if served is None or decision.kind in (DecisionKind.PINNED, DecisionKind.CONTROL):
        return {}
    best = max(view.utility for view in decision.views)
    fields = {f"decisions|{arm}": 1, f"regret_micro|{arm}": round((best - served.utility) * MICRO)}
    for view in decision.views:
        fields[f"weighed|{view.arm}"] = 1
        fields[f"lift_micro|{view.arm}"] = round((served.utility - view.utility) * MICRO)
    return {name: amount for name, amount in fields.items() if amount}
