"""Table of evidence: what a judge and a race beside the users' path bring, and what they cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from benchmarks.replays.figures import half_interval
from benchmarks.replays.streams import Condition
from benchmarks.replays.summary import Cell

HEAD = (
    *("rated", "judge", "race", "imported", "prior", "v best fixed", "worst seed", "first 200", "by set"),
    *("shadows", "judge's calls", "net"),
)


def evidence_table(cells: Sequence[Cell], player: str) -> str:
    """Return a Markdown table, a line for each kind of evidence, over data sets and cost weights.

    Differences to the best fixed model are x 1000 a request, with the 95 % interval over seeds; by set they are means
    over the cost weights. Shadows and judge are shares of the bill of serving all of them, each set's in units of its
    dearest model. Net is the difference less what both cost, at the condition's cost weight.
    """
    grouped: dict[tuple[object, ...], list[Cell]] = defaultdict(list)
    for cell in cells:
        grouped[_evidence(cell.condition)].append(cell)
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    lines += [_line(group, player) for group in grouped.values()]
    return "\n".join(lines)


def _evidence(condition: Condition) -> tuple[object, ...]:
    imported = condition.imported, condition.imported_from
    return condition.kind, condition.feedback, condition.judge, condition.race, imported, condition.prior


def _line(group: Sequence[Cell], player: str) -> str:
    condition, rows = group[0].condition, [cell.rows[player] for cell in group]
    best = np.array([row.against_best for row in rows])
    of_seeds = np.mean([cell.gaps[player] for cell in group], axis=0)
    bill = sum(row.cost for row in rows)
    by_set: dict[str, list[float]] = defaultdict(list)
    for cell in group:
        by_set[cell.data].append(cell.rows[player].against_best)
    net = [
        row.against_best - 1000 * cell.condition.cost_weight * row.cost * ((row.shadows or 0.0) + (row.judge or 0.0))
        for cell, row in zip(group, rows, strict=True)
    ]
    fields = [
        f"{condition.feedback:.0%}",
        condition.judge,
        "on" if condition.race and condition.judge != "none" else "off",
        f"{condition.imported} {condition.imported_from}" if condition.imported else "",
        condition.prior,
        f"{best.mean():+.1f} ± {half_interval(of_seeds):.1f}",
        f"{min(row.worst for row in rows):+.0f}",
        f"{-np.mean([row.regret_200 for row in rows]):+.0f}",
        ", ".join(f"{name} {np.mean(some):+.0f}" for name, some in by_set.items()),
        f"{sum((row.shadows or 0.0) * row.cost for row in rows) / bill:.1%}",
        f"{sum((row.judge or 0.0) * row.cost for row in rows) / bill:.1%}",
        f"{np.mean(net):+.1f}",
    ]
    return "| " + " | ".join(fields) + " |"
