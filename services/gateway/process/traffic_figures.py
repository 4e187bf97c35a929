"""Figures of the traffic as `GET /stats` and `GET /spend` show them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from shared.bandit.sums import MICRO, NANO
from shared.schemas.figures import duration_of
from shared.traffic import Figures

COUNTS = (
    *("requests", "failed", "truncated", "cancelled", "errors", "explored", "fallback", "degraded"),
    *("prompt_tokens", "completion_tokens", "checked", "failed_checks", "unknown_costs"),
)
"""Measures that are shown as they are."""

SPENT = ("requests", "prompt_tokens", "completion_tokens", "unknown_costs")
"""Those of the spending."""

COMPARED = 0.5
"""Share of the decisions in which a model must have been weighed, to be the best fixed one."""

Sums = Mapping[str, int]
"""Sums of one model, or of one owner, by measure."""


def by_name(parts: Iterable[Figures]) -> dict[str, Sums]:
    """Return the sums of several times by the model or the owner that they are of."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for part in parts:
        for field, amount in part.items():
            measure, _, name = field.partition("|")
            found[name][measure] += amount
    return dict(found)


def total(sums: Iterable[Sums]) -> Sums:
    """Return the sums of all models."""
    added: Counter[str] = Counter()
    for one in sums:
        added.update(one)
    return added


def shown(sums: Sums) -> dict[str, Any]:
    """Return counts, cost, scores by source, and quantiles of the durations."""
    counts = {name: count for name, count in sums.items() if name.startswith("scores:") and count > 0}
    return {
        **{name: sums.get(name, 0) for name in COUNTS},
        "cost_usd": sums.get("cost_nano", 0) / NANO,
        "scores": {
            source: {"count": count, "mean": sums.get(f"micro:{source}", 0) / count / MICRO}
            for name, count in sorted(counts.items())
            for source in (name.removeprefix("scores:"),)
        },
        "overhead_ms": _quantiles(sums, "overhead:"),
        "upstream_ms": _quantiles(sums, "upstream:"),
    }


def expected(arms: Mapping[str, Sums]) -> dict[str, Any] | None:
    """Return what the decisions expected to gain and to lose, per decision; None where there were none.

    The best fixed model is the one above which the least was gained. A model that was weighed in few of the decisions
    is not compared.
    """
    decisions = sum(sums.get("decisions", 0) for sums in arms.values())
    if not decisions:
        return None
    lift = {
        arm: sums.get("lift_micro", 0) / sums["weighed"] / MICRO
        for arm, sums in arms.items()
        if sums.get("weighed", 0) >= COMPARED * decisions
    }
    best = min(lift, key=lambda arm: (lift[arm], arm), default=None)
    return {
        "decisions": decisions,
        "regret": sum(sums.get("regret_micro", 0) for sums in arms.values()) / decisions / MICRO,
        "best_fixed": best,
        "lift": None if best is None else lift[best],
        "lift_over": lift,
    }


def spent(sums: Sums) -> dict[str, Any]:
    """Return what an owner used."""
    return {**{name: sums.get(name, 0) for name in SPENT}, "cost_usd": sums.get("cost_nano", 0) / NANO}


def _quantiles(sums: Sums, prefix: str) -> dict[str, float | None]:
    classes = sorted((int(name.removeprefix(prefix)), count) for name, count in sums.items() if name.startswith(prefix))
    number = sum(count for _, count in classes)
    found: dict[str, float | None] = {"p50": None, "p95": None}
    for name, share in (("p50", 0.5), ("p95", 0.95)):
        below = 0
        for of, count in classes:
            below += count
            if below >= share * number:
                found[name] = duration_of(of) * 1000
                break
    return found
