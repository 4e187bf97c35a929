"""Measured lift: the utility of routed requests above that of the control group, with its 95 % interval.

    lift = w_q (q_routed - q_control) + (t_routed - t_control),       t: terms of speed and cost, as they turned out

Groups are drawn by a hash of the conversation (`control.py`), so the difference of their means is an unbiased estimate
of what routing, exploring included, gains. Quality is that of scored answers, terms are those of all answers; the
interval is Welch's, with the variances of both, and takes requests as independent, which those of one conversation are
not quite. Quality is measured by users and by the judge; which requests are evaluated does not depend on the group. The
utility takes the narrower of both. All sums are weighted by age.

Paid back: with n routed requests, n x lift is what routing has gained, and what evaluations have cost is taken off it,
in units of utility: the cost weight for the price of the dearest model's answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass

from shared.bandit.decision import ArmView, Group, Weights
from shared.bandit.sums import LARGEST_TERMS, ArmSums, GroupSums

Z_95 = 1.96
MIN_NUMBER = 2.0
"""Ratings, or answers, of a group below which their mean is not known."""

_Sample = tuple[float, float, float]
"""Number, sum and sum of squares."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A difference, routed less control, and its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Lift:
    """What routing gains over the control group; None where too little is known.

    Attributes:
        quality, quality_judged: by users, and by the judge.
        cost_usd: difference of the mean cost of an answer.
        net: what routing has gained in all, less what evaluations have cost.
        requests_left: routed requests until that is positive, at this lift; 0 where it is, None where it never will be.
    """

    groups: Mapping[Group, GroupSums]
    quality: Estimate | None
    quality_judged: Estimate | None
    utility: Estimate | None
    cost_usd: float | None
    net: float | None = None
    requests_left: float | None = None


def realised_terms(views: Sequence[ArmView], cost_usd: float, latency_s: float, weights: Weights) -> float:
    """Return the utility of an answer without quality: its cost and time on the scales of its decision."""
    dearest = max([view.cost_usd or 0.0 for view in views], default=0.0)
    slowest = max([view.latency_s or 0.0 for view in views], default=0.0)
    cost = cost_usd / dearest if dearest else 0.0
    speed = 1 - latency_s / slowest if slowest else 0.0
    return min(max(weights.latency * speed + weights.cost * cost, -LARGEST_TERMS), LARGEST_TERMS)


def measured_lift(arms: Iterable[ArmSums], weights: Weights, dearest_usd: float | None) -> Lift | None:
    """Return what the groups of `arms` show; None without a control group. `dearest_usd`: the dearest arm's answer."""
    learned = tuple(arms)
    groups = {group: _total(one.groups.get(group, GroupSums()) for one in learned) for group in Group}
    routed, control = groups[Group.ROUTED], groups[Group.CONTROL]
    if not control.requests:
        return None
    rated = _difference(*((one.labels, one.score, one.score_sq) for one in (routed, control)))
    judged = _difference(*((one.judged, one.judged_score, one.judged_score_sq) for one in (routed, control)))
    terms = _difference(*((one.requests, one.terms, one.terms_sq) for one in (routed, control)))
    measured = groups, _interval(rated), _interval(judged)
    quality = min((one for one in (rated, judged) if one is not None), key=lambda one: one[1], default=None)
    if quality is None or terms is None:
        return Lift(*measured, None, _cost_difference(routed, control))
    mean = weights.quality * quality[0] + terms[0]
    spent = sum(one.total.evaluation_usd for one in learned) * -weights.cost / dearest_usd if dearest_usd else 0.0
    net = routed.requests * mean - spent
    left = 0.0 if net >= 0 else (-net / mean if mean > 0 else None)
    utility = _interval((mean, weights.quality**2 * quality[1] + terms[1]))
    return Lift(*measured, utility, _cost_difference(routed, control), net, left)


def _total(sums: Iterable[GroupSums]) -> GroupSums:
    columns = zip(*map(astuple, sums), strict=True)
    return GroupSums(*(math.fsum(column) for column in columns))


def _cost_difference(routed: GroupSums, control: GroupSums) -> float | None:
    if not routed.requests:
        return None
    return routed.cost_usd / routed.requests - control.cost_usd / control.requests


def _difference(routed: _Sample, control: _Sample) -> tuple[float, float] | None:
    """Return the difference of two means and its variance; None where one of them is not known."""
    if min(routed[0], control[0]) < MIN_NUMBER:
        return None
    (mean, variance), (other, other_variance) = _mean(routed), _mean(control)
    return mean - other, variance + other_variance


def _mean(sample: _Sample) -> tuple[float, float]:
    """Return a mean and its variance."""
    number, total, squares = sample
    mean = total / number
    return mean, max(squares / number - mean * mean, 0.0) / (number - 1)


def _interval(difference: tuple[float, float] | None) -> Estimate | None:
    if difference is None:
        return None
    mean, reach = difference[0], Z_95 * math.sqrt(difference[1])
    return Estimate(mean, mean - reach, mean + reach)
