"""Summary of many conditions in one table, with the mean over all cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.replays.differences import Difference, difference, differences
from benchmarks.replays.figures import Row
from benchmarks.replays.streams import Condition

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One data set under one condition: by player the row, and values of each seed, x 1000.

    `utility` is its mean, `gaps` its difference to best fixed.
    """

    data: str
    condition: Condition
    rows: Mapping[str, Row]
    utility: Mapping[str, Floats] = field(default_factory=dict)
    gaps: Mapping[str, Floats] = field(default_factory=dict)


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
        last = [f"{np.mean(against):+.1f}", f"{min(row.worst for row in rows.values()):+.0f}"]
        lines.append(
            "| " + " | ".join([_title(condition), *named, *last, *(f"{other:+.1f}" for other in others)]) + " |"
        )
    return "\n".join([*lines, "", _together([cell.rows[product] for cell in cells])])


def references_summary(cells: Sequence[Cell], product: str) -> str:
    """Return a Markdown table of the product's paired differences to each reference, and where it is worse.

    A line a condition. A cell is the mean over the data sets with the 95 % interval over the seeds, the worst seed of
    that mean, and the worst data set. Below, a line for each reference names the data sets and conditions where the
    product is significantly worse.
    """
    names = [name for name in dict.fromkeys(name for cell in cells for name in cell.utility) if _is_reference(name)]
    references = [name for name in names if name != product]
    grouped: dict[Condition, list[Cell]] = defaultdict(list)
    for cell in cells:
        grouped[cell.condition].append(cell)
    head = ["stream, rated, weight", *(f"v {name}" for name in references)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for condition, group in grouped.items():
        columns = [_against(group, product, name) for name in references]
        lines.append("| " + " | ".join([_title(condition), *columns]) + " |")
    return "\n".join([*lines, "", *(_worse_than(cells, product, name) for name in references)])


def _is_reference(name: str) -> bool:
    return not name.startswith("always ")


def _against(group: Sequence[Cell], product: str, reference: str) -> str:
    found = [(cell.data, differences(cell.utility, product)[reference]) for cell in group if reference in cell.utility]
    if not found:
        return ""
    ours, theirs = (np.mean([cell.utility[name] for cell in group], axis=0) for name in (product, reference))
    data, worst = min(found, key=lambda one: one[1].mean)
    return f"{difference(ours, theirs)}" + (f"; {data} {worst.mean:+.1f} ± {worst.half:.1f}" if len(found) > 1 else "")


def _worse_than(cells: Sequence[Cell], product: str, reference: str) -> str:
    gaps: list[tuple[Cell, Difference]] = [
        (cell, differences(cell.utility, product)[reference]) for cell in cells if reference in cell.utility
    ]
    worse = [
        f"{cell.data} ({_title(cell.condition)}) {gap.mean:+.1f} ± {gap.half:.1f}" for cell, gap in gaps if gap.worse
    ]
    better = sum(gap.better for _, gap in gaps)
    return (
        f"v {reference}: {len(gaps)} cells, significantly better in {better}, significantly worse in {len(worse)}"
        + (f": {'; '.join(worse)}" if worse else "")
    )


def _title(condition: Condition) -> str:
    judge = "" if condition.judge == "none" else f", judge {condition.judge}{' and race' if condition.race else ''}"
    return f"{condition.kind}, {condition.feedback:.0%}, {condition.cost_weight:g}{judge}"


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
