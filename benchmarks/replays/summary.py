"""Summary of many conditions in one table, with the mean over all cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.replays.figures import Row
from benchmarks.replays.streams import Condition


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One data set under one condition: the rows of its players by name."""

    data: str
    condition: Condition
    rows: Mapping[str, Row]


def summary(cells: Sequence[Cell], product: str, bounds: Sequence[str]) -> str:
    """Return a Markdown table: a line a condition, and in each the data sets and their mean.

    A cell is the product's difference to the best fixed arm, and to pooled Thompson sampling (`*`: significantly worse,
    its 95 % interval lies below 0). `bounds` are players whose difference to best fixed stands beside the mean.
    """
    grouped: dict[Condition, list[Cell]] = defaultdict(list)
    for cell in cells:
        grouped[cell.condition].append(cell)
    names = list(dict.fromkeys(cell.data for cell in cells))
    head = ["stream, rated, weight", *names, "mean", "worst seed", *bounds]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for condition, group in grouped.items():
        rows = {cell.data: cell.rows[product] for cell in group}
        named = [_cell(rows[name]) if name in rows else "" for name in names]
        against = [row.against_best for row in rows.values()]
        others = [np.mean([cell.rows[bound].against_best for cell in group]) for bound in bounds]
        title = f"{condition.kind}, {condition.feedback:.0%}, {condition.cost_weight:g}"
        last = [f"{np.mean(against):+.1f}", f"{min(row.worst for row in rows.values()):+.0f}"]
        lines.append("| " + " | ".join([title, *named, *last, *(f"{other:+.1f}" for other in others)]) + " |")
    return "\n".join([*lines, "", _together([cell.rows[product] for cell in cells])])


def _cell(row: Row) -> str:
    if row.against_pooled is None or row.pooled_interval is None:
        return f"{row.against_best:+.1f}"
    star = "*" if row.against_pooled + row.pooled_interval < 0 else ""
    return f"{row.against_best:+.1f} / {row.against_pooled:+.1f}{star}"


def _together(rows: Sequence[Row]) -> str:
    pairs = [(row.against_pooled, row.pooled_interval) for row in rows]
    known = [(gain, half) for gain, half in pairs if gain is not None and half is not None]
    if not known:
        return f"{len(rows)} cells."
    gains, halves = np.array(known).T
    return (
        f"{len(rows)} cells; against pooled Thompson sampling {gains.mean():+.1f} on average, significantly better in "
        f"{int((gains > halves).sum())}, significantly worse in {int((gains < -halves).sum())} "
        f"({0.025 * len(known):.0f} would be by chance, were there no difference)."
    )
