"""Statistics of runs: paired differences with intervals, regret, crossing, calibration."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.replays.played import Played
from benchmarks.replays.streams import Stream
from benchmarks.replays.topic_figures import TopicFigures, topic_figures

Floats = NDArray[np.float64]
T_QUANTILES = (
    *(12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23),
    *(2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10, 2.09),
)
"""0.975 quantile of Student's t with 1, 2, ... degrees of freedom."""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One player on one stream: arrays (T,) of utility, quality, relative cost and arm; calibration.

    Attributes:
        best_fixed: utility of the best fixed arm in hindsight, (T,).
        best_by_topic: mean utility of the arm that is right for each request's topic.
        topics: figures by topic.
        beside: relative cost of other models' answers beside the users' path, and of the judge, a request.
    """

    utility: Floats
    quality: Floats
    cost: Floats
    arms: NDArray[np.intp]
    best_fixed: Floats
    best_by_topic: float
    calibration: float | None
    topics: TopicFigures
    beside: tuple[float, float] | None = None

    def as_json(self) -> dict[str, object]:
        """Return the figures of the run as JSON values."""
        return {
            "utility": float(self.utility.mean()),
            "quality": float(self.quality.mean()),
            "cost": float(self.cost.mean()),
            "best_fixed": float(self.best_fixed.mean()),
            "best_by_topic": self.best_by_topic,
            "first_200": float((self.utility - self.best_fixed)[:200].mean()),
            "last_500": float((self.utility - self.best_fixed)[-500:].mean()),
            "calibration": self.calibration,
            "topics": asdict(self.topics),
            "beside": self.beside,
        }


def run_of(played: Played, stream: Stream, cost_weight: float) -> Run:
    """Return the run of a player's choices."""
    t = np.arange(len(played.arms))
    return Run(
        utility=stream.utility(cost_weight)[t, played.arms],
        quality=stream.scores[t, played.arms],
        cost=stream.costs[t, played.arms] / stream.dearest,
        arms=played.arms,
        best_fixed=stream.best_fixed(cost_weight),
        best_by_topic=float(stream.best_by_topic(cost_weight).mean()),
        calibration=_calibration(played),
        topics=topic_figures(played.arms, stream, cost_weight),
        beside=_beside(played, stream),
    )


def _beside(played: Played, stream: Stream) -> tuple[float, float] | None:
    if played.beside is None:
        return None
    return float(played.beside.shadows.mean() / stream.dearest), float(played.beside.judge.mean() / stream.dearest)


@dataclass(frozen=True, slots=True)
class Share:
    """A share with half of its 95 % interval."""

    mean: float
    half: float

    def __str__(self) -> str:
        """Return both in per cent."""
        return f"{self.mean:.0%} ± {self.half:.0%}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; differences are to best fixed in hindsight, paired by seed, x 1000 a request.

    Attributes:
        against_best, interval: mean difference and half of its 95 % interval.
        worst: of the seeds.
        against_pooled, pooled_interval: the same against pooled Thompson sampling.
        regret_200: loss a request over the first 200.
        last_500: difference over the last 500.
        crossing: request from which the mean curve stays above best fixed's; None for never.
        share_of_gap: of what full information gains over best fixed; None where that is below 5.
        share_of_topics: the same of what the right arm of each topic gains over best fixed.
        calibration: mean gap between logged propensity and frequency; None without propensities.
        shadows, judge: cost of other models' answers beside the users' path, and of the judge, as shares of the bill
            of serving; None without evaluations.
    """

    player: str
    utility: float
    quality: float
    cost: float
    against_best: float
    interval: float
    worst: float
    against_pooled: float | None
    pooled_interval: float | None
    regret_200: float
    last_500: float
    crossing: int | None
    share_of_gap: Share | None
    share_of_topics: Share | None
    calibration: float | None
    shadows: float | None = None
    judge: float | None = None

    def as_json(self) -> dict[str, object]:
        """Return the row as JSON values."""
        return asdict(self)


def row_of(player: str, runs: list[Run], pooled: list[Run] | None, full: list[Run] | None) -> Row:
    """Return the row of one player."""
    gaps = 1000 * np.array([run.utility - run.best_fixed for run in runs])
    against = None if pooled is None else per_seed(runs) - per_seed(pooled)
    calibrations = [run.calibration for run in runs if run.calibration is not None]
    beside = np.array([run.beside for run in runs if run.beside is not None])
    bill = float(np.mean([run.cost.mean() for run in runs]))
    shadows, judge = beside.mean(axis=0) / max(bill, 1e-12) if len(beside) else (None, None)
    return Row(
        player=player,
        utility=float(per_seed(runs).mean() / 1000),
        quality=float(np.mean([run.quality.mean() for run in runs])),
        cost=bill,
        against_best=float(gaps.mean()),
        interval=half_interval(gaps.mean(axis=1)),
        worst=float(gaps.mean(axis=1).min()),
        against_pooled=None if against is None else float(against.mean()),
        pooled_interval=None if against is None else half_interval(against),
        regret_200=float(-gaps[:, :200].mean()),
        last_500=float(gaps[:, -500:].mean()),
        crossing=_crossing(gaps.mean(axis=0)),
        share_of_gap=None if full is None else _share(runs, per_seed(full)),
        share_of_topics=share_of_topics(runs),
        calibration=float(np.mean(calibrations)) if calibrations else None,
        shadows=None if shadows is None else float(shadows),
        judge=None if judge is None else float(judge),
    )


def share_of_topics(runs: list[Run]) -> Share | None:
    """Return the share of what the right arm of each topic gains over best fixed."""
    return _share(runs, 1000 * np.array([run.best_by_topic for run in runs]))


def _share(runs: list[Run], bound: Floats) -> Share | None:
    """Return the share of what a bound gains over best fixed; `bound` is its utility by seed, x 1000.

    It is a ratio of means over the seeds, whose interval is that of its linearised residuals. None where the bound
    gains less than 5.
    """
    gained, possible = gap_per_seed(runs), bound - _best(runs)
    if possible.mean() < 5:
        return None
    ratio = float(gained.mean() / possible.mean())
    return Share(ratio, half_interval(gained - ratio * possible) / float(possible.mean()))


def per_seed(runs: list[Run]) -> Floats:
    """Return the mean utility of each seed, x 1000."""
    return np.array([1000 * run.utility.mean() for run in runs])


def gap_per_seed(runs: list[Run]) -> Floats:
    """Return the mean difference to best fixed of each seed, x 1000."""
    return per_seed(runs) - _best(runs)


def half_interval(values: Floats) -> float:
    """Return the half width of the 95 % interval of the mean of `values`."""
    n = len(values)
    if n < 2:
        return float("nan")
    quantile = T_QUANTILES[n - 2] if n - 2 < len(T_QUANTILES) else 1.96 + 2.5 / (n - 1)
    return float(quantile * values.std(ddof=1) / np.sqrt(n))


def _best(runs: list[Run]) -> Floats:
    return np.array([1000 * run.best_fixed.mean() for run in runs])


def _crossing(gap: Floats) -> int | None:
    below = np.flatnonzero(np.cumsum(gap) < 0)
    if not len(below):
        return 0
    return None if below[-1] == len(gap) - 1 else int(below[-1]) + 1


def _calibration(played: Played) -> float | None:
    """Return the mean gap between propensity and frequency over ten bins, weighted by their size."""
    if np.isnan(played.chances).any():
        return None
    hits = np.zeros_like(played.chances)
    hits[np.arange(len(hits)), played.arms] = 1
    bins = np.minimum((played.chances * 10).astype(int), 9).ravel()
    size = np.bincount(bins, minlength=10)
    gaps = np.abs(np.bincount(bins, hits.ravel(), 10) - np.bincount(bins, played.chances.ravel(), 10))
    return float(gaps.sum() / size.sum())
