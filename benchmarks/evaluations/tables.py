"""What was found out, for people: one block a target, one line an estimator; and the table of the validation."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from benchmarks.evaluations.log import Log
from benchmarks.evaluations.targets import MEASURES, Verdict
from benchmarks.evaluations.validate import Coverage, pooled
from shared.bandit.off_policy import ESTIMATORS, MIN_ESS, MOST_REQUESTS, Interval

SHOWN = {"utility": ("utility", 1.0), "quality": ("quality", 1.0), "cost_usd": ("USD per 1,000", 1000.0)}
"""Title and unit of each measure."""


def describe(log: Log | None, left_out: Counter[str]) -> str:
    """Return a description of the log."""
    counted = 0 if log is None else len(log)
    reasons = ", ".join(f"{number:,} {why}" for why, number in left_out.most_common())
    return f"{counted:,} requests count; left out: {reasons or 'none'}"


def judged(verdict: Verdict) -> str:
    """Return the text of one target."""
    known = verdict.support
    head = f"\n{verdict.target}: {known.requests:,} requests, effective sample size {known.ess:,.0f}"
    if not verdict.estimates:
        return f"{head}\n  refused: {known.refusal}{needs(verdict)}"
    lines = [head, f"  {'':15}{'estimator':11}{'value':27}difference from the logged policy"]
    for measure in MEASURES:
        for name in ESTIMATORS:
            found = verdict.estimates[measure][name]
            title, unit = SHOWN[measure]
            value, difference = _shown(found.value, unit), _shown(found.difference, unit, "+")
            lines.append(f"  {title:15}{name:11}{value:27}{difference}")
    return "\n".join(lines)


def needs(verdict: Verdict) -> str:
    """Return how many requests would support a refused target, in words."""
    known, needed = verdict.support, verdict.needed
    if needed is None:
        words = f"more than {MOST_REQUESTS:,.0f} requests like these"
    else:
        by_luck = known.requests * MIN_ESS / known.ess if needed <= known.requests and known.ess > 0 else needed
        words = f"about {max(math.ceil(by_luck) - known.requests, 1):,} more requests like these"
    others = [
        f"about {enough:,} at EXPLORATION_RATE={rate:g}"
        for rate, enough in verdict.needed_at.items()
        if enough is not None and (needed is None or enough < needed)
    ]
    return "; needed: " + ", or in a new log ".join((words, " or ".join(others)) if others else (words,))


def validated(lines: Sequence[Coverage]) -> str:
    """Return the table of a validation."""
    return "\n".join(_validated(lines))


def _validated(lines: Sequence[Coverage]) -> Iterator[str]:
    yield f"| log | policy judged | refused | {' | '.join(ESTIMATORS)} |"
    yield f"|{'---|' * (3 + len(ESTIMATORS))}"
    rows: dict[tuple[str, str], list[Coverage]] = {}
    for line in lines:
        rows.setdefault((line.log, line.target), []).append(line)
    for (log, target), row in rows.items():
        cells = " | ".join(_cell(line) for line in row)
        yield f"| {log} | {target} | {row[0].refused} of {row[0].runs} | {cells} |"
    totals = [pooled(lines, name) for name in ESTIMATORS]
    cells = " | ".join(f"**{value:.1%}**, {difference:.1%}" for _, value, difference in totals)
    yield f"| all | | {totals[0][0]:,} judged | {cells} |"


def _cell(line: Coverage) -> str:
    if not line.judged:
        return "-"
    return (
        f"{line.covered:.0%}, {line.difference_covered:.0%}; {1000 * line.bias:+.1f}; {1000 * line.error:.1f}; "
        f"{1000 * line.width:.1f}"
    )


def _shown(interval: Interval, unit: float, sign: str = "") -> str:
    if math.isnan(interval.value):
        return "not known"
    value, low, high = (f"{figure * unit:{sign}.4f}" for figure in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"
