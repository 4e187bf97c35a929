"""Tables of one condition as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.replays.differences import differences
from benchmarks.replays.figures import Row, Run, half_interval, per_seed
from benchmarks.replays.streams import Condition

Value = Callable[[Run], float | None]
Worst = Callable[[Sequence[float]], float]


def _topic(name: str) -> Value:
    return lambda run: getattr(run.topics, name)


def _fall(name: str) -> Value:
    return lambda run: None if run.topics.fall is None else getattr(run.topics.fall, name)


SHARES: dict[str, tuple[Value, Worst]] = {
    "arrival": (_topic("arrival"), min),
    "mixed": (_topic("mixed"), min),
    "worst topic": (_topic("worst"), min),
    "forgetting": (_topic("forgetting"), max),
    "worst forgot": (_topic("worst_forgetting"), max),
}
"""Shares of right choices, and which seed is the worst."""

COUNTS = {"to 80 %": _topic("learned"), "slowest": _topic("slowest"), "never": _topic("unlearned")}

FALL_SHARES: dict[str, tuple[Value, Worst]] = {
    name: (_fall(name.replace(" ", "_")), min) for name in ("before", "after", "end", "others before", "others after")
}
FALL_COUNTS = {"to 80 %": _fall("learned"), "lost": _fall("lost")}


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
    parts = [_table("right choices by topic", SHARES, COUNTS, runs)]
    if any(run.topics.fall is not None for some in runs.values() for run in some):
        parts.append(_table("topic whose best model falls", FALL_SHARES, FALL_COUNTS, runs))
    return "\n".join(parts)


def difference_lines(runs: Mapping[str, list[Run]], player: str) -> str:
    """Return a line for each other player: the paired difference, its interval and the worst seed."""
    utility = {name: per_seed(some) for name, some in runs.items()}
    return "\n".join(
        f"  {player} - {name}: {gap}" + (" *" if gap.worse else "")
        for name, gap in differences(utility, player).items()
        if not name.startswith("always ")
    )


def _table(
    title: str,
    columns: Mapping[str, tuple[Value, Worst]],
    counts: Mapping[str, Value],
    runs: Mapping[str, list[Run]],
) -> str:
    lines = [f"{title[:33]:34}" + "".join(f"{name:>19}" for name in columns) + "".join(f"{name:>9}" for name in counts)]
    for player, of_player in runs.items():
        cells = [f"{_cell([value(run) for run in of_player], worst):>19}" for value, worst in columns.values()]
        means = [[value(run) for run in of_player] for value in counts.values()]
        lines.append(f"{player[:33]:34}" + "".join(cells) + "".join(f"{_mean(values):>9}" for values in means))
    return "\n".join(lines)


def _cell(values: Sequence[float | None], worst: Worst) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    half = half_interval(np.array(known))
    return f"{np.mean(known):.2f} ± {half:.2f} ({worst(known):.2f})"


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.1f}" if known else "-"


def _pm(value: float | None, half: float | None) -> str:
    return "-" if value is None or half is None else f"{value:+.1f} ± {half:.1f}"
