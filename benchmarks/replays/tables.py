"""Tables of one condition as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.replays.differences import differences
from benchmarks.replays.figures import Row, Run, half_interval, per_seed
from benchmarks.replays.streams import Condition


class Column(NamedTuple):
    """A figure of a run: where it is found, which of the seeds is the worst, and its decimal places."""

    name: str
    value: Callable[[Run], float | None]
    worst: Callable[[Sequence[float]], float]
    places: int = 2


def _column(name: str, path: str, worst: Callable[[Sequence[float]], float], places: int = 2) -> Column:
    """Return the column of an attribute of a run's topics; None where one on the `path` is None."""

    def value(run: Run) -> float | None:
        found: Any = run.topics
        for attribute in path.split("."):
            found = None if found is None else getattr(found, attribute)
        return None if found is None else float(found)

    return Column(name, value, worst, places)


TOPIC_COLUMNS = (
    _column("arrival", "arrival", min),
    _column("mixed", "mixed", min),
    _column("worst topic", "worst", min),
    _column("forgetting", "forgetting", max),
    _column("worst forgot", "worst_forgetting", max),
    _column("to 80 %", "learned", max, 0),
    _column("slowest", "slowest", max, 0),
    _column("never", "unlearned", max, 1),
)
FALL_COLUMNS = (
    _column("before", "fall.before", min),
    _column("after", "fall.after", min),
    _column("end", "fall.end", min),
    _column("others before", "fall.others_before", min),
    _column("others after", "fall.others_after", min),
    _column("to 80 %", "fall.learned", max, 0),
    _column("lost", "fall.lost", max, 0),
)


def utility_table(data: str, condition: Condition, seeds: int, rows: Sequence[Row]) -> str:
    """Return the table of utility."""
    head = (
        f"\n{data}: {condition.kind}, feedback {condition.feedback:.0%}, cost weight {condition.cost_weight}, "
        f"{seeds} seeds, delay {condition.delay}; differences x 1000 a request, ± 95 %\n"
        f"{'player':34}{'utility':>8}{'quality':>8}{'cost':>7}{'v best fixed':>16}{'worst':>7}{'v pooled TS':>16}"
        f"{'first200':>9}{'last500':>8}{'crossing':>9}{'of gap':>12}{'of topics':>12}{'calibr.':>8}"
    )
    lines = [
        f"{row.player[:33]:34}{row.utility:8.4f}{row.quality:8.4f}{row.cost:7.3f}"
        f"{_pm(row.against_best, row.interval):>16}{row.worst:7.0f}{_pm(row.against_pooled, row.pooled_interval):>16}"
        f"{-row.regret_200:9.0f}{row.last_500:8.1f}{'-' if row.crossing is None else row.crossing!s:>9}"
        f"{row.share_of_gap or '-'!s:>12}{row.share_of_topics or '-'!s:>12}"
        f"{'-' if row.calibration is None else f'{row.calibration:.4f}':>8}"
        for row in rows
    ]
    return "\n".join([head, *lines])


def topic_table(runs: Mapping[str, list[Run]]) -> str:
    """Return the table of shares of right choices; a cell is the mean ± 95 %, and the worst seed."""
    parts = [_table("right choices by topic", TOPIC_COLUMNS, runs)]
    if any(run.topics.fall is not None for some in runs.values() for run in some):
        parts.append(_table("topic whose best model falls", FALL_COLUMNS, runs))
    return "\n".join(parts)


def difference_lines(runs: Mapping[str, list[Run]], player: str) -> str:
    """Return a line for each other player: the paired difference, its interval and the worst seed."""
    utility = {name: per_seed(some) for name, some in runs.items()}
    return "\n".join(
        f"  {player} - {name}: {gap}" + (" *" if gap.worse else "")
        for name, gap in differences(utility, player).items()
        if not name.startswith("always ")
    )


def _table(title: str, columns: Sequence[Column], runs: Mapping[str, list[Run]]) -> str:
    lines = [f"{title[:33]:34}" + "".join(f"{column.name:>19}" for column in columns)]
    for player, of_player in runs.items():
        cells = [f"{_cell(column, of_player):>19}" for column in columns]
        lines.append(f"{player[:33]:34}" + "".join(cells))
    return "\n".join(lines)


def _cell(column: Column, runs: Sequence[Run]) -> str:
    known = [value for run in runs if (value := column.value(run)) is not None]
    if not known:
        return "-"
    half, places = half_interval(np.array(known)), column.places
    return f"{np.mean(known):.{places}f} ± {half:.{places}f} ({column.worst(known):.{places}f})"


def _pm(value: float | None, half: float | None) -> str:
    return "-" if value is None or half is None else f"{value:+.1f} ± {half:.1f}"
