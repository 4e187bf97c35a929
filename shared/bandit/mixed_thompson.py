"""The product's policy: Thompson sampling on the mixed model (`mixed.py`), with neighbours where they help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shared.bandit.arms import Arm, ArmId
from shared.bandit.change import find_break
from shared.bandit.context import Context
from shared.bandit.decision import Decision
from shared.bandit.exploration import draw_sd
from shared.bandit.local import gate_open
from shared.bandit.mixed import Cells, fit_mixed, noise_variance
from shared.bandit.policy import BanditSettings
from shared.bandit.posterior import GaussianPosterior
from shared.bandit.reward import expect, reliability, shrink
from shared.bandit.sums import ArmSums, LearnedState, Sums
from shared.bandit.thompson import decide

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MixedThompson:
    """`Policy` of the product."""

    settings: BanditSettings
    name: str = "mixed-thompson-2"

    def fit(self, state: LearnedState, arms: Sequence[Arm]) -> GaussianPosterior:
        """Turn sums into a posterior over `arms`. About 1.5 ms for 12 arms and 8 clusters."""
        learned = [state.arms.get(arm.id, _NOTHING) for arm in arms]
        totals = tuple(one.total for one in learned)
        by_cluster = _by_cluster(learned, state)
        m = self.settings.min_requests_for_global
        expected = expect(arms, totals, m)
        cells, kept = _since_breaks(_cells(totals, by_cluster, expected.cost_usd), learned, self.settings)
        fit = fit_mixed(cells, self.settings)
        mean = np.vstack((fit.mean, fit.cluster_mean.T[1:]))
        variance = np.vstack((fit.variance, fit.cluster_variance.T[1:]))
        requests = _matrix(by_cluster, "requests")
        return GaussianPosterior(
            version=state.version,
            arms=tuple(arm.id for arm in arms),
            index={arm.id: i for i, arm in enumerate(arms)},
            sums=totals,
            quality=mean,
            quality_sd=np.sqrt(variance),
            draw_sd=draw_sd(
                fit.variance,
                cells.labels.sum(axis=1),
                sum(one.requests for one in totals),
                self.settings.exploration_rate,
                variance - fit.variance,
            ),
            cost_usd=_rows(expected.cost_usd, _matrix(by_cluster, "cost_usd"), _matrix(by_cluster, "priced"), m),
            latency_s=_rows(expected.latency_s, _matrix(by_cluster, "latency_s"), requests, m),
            reliability=reliability(totals, m),
            kept=kept,
            local_gate=gate_open(totals),
            centroids=state.centroids,
        )

    def decide(
        self, posterior: GaussianPosterior, context: Context, eligible: Sequence[ArmId], rng: np.random.Generator
    ) -> Decision:
        """Rank `eligible`, with the probability of every one of them."""
        return decide(posterior, context, eligible, rng, settings=self.settings, policy=self.name)


_NOTHING = ArmSums()
_NO_SUMS = Sums()


def _by_cluster(learned: Sequence[ArmSums], state: LearnedState) -> list[list[Sums]]:
    """Return the sums of each arm in each cluster of the current epoch; older epochs count as cluster unknown."""
    if state.centroids is None:
        return [[] for _ in learned]
    epoch, clusters = state.centroids.epoch, range(len(state.centroids.centres))
    return [[one.clusters.get((epoch, cluster), _NO_SUMS) for cluster in clusters] for one in learned]


def _matrix(by_cluster: Sequence[Sequence[Sums]], name: str) -> Floats:
    """Return (K, M) of one field."""
    rows = [[getattr(cell, name) for cell in cells] for cells in by_cluster]
    return np.array(rows).reshape(len(rows), len(rows[0]) if rows else 0)  # no arm: before there is a list of models


def _cells(totals: Sequence[Sums], by_cluster: Sequence[Sequence[Sums]], cost_usd: Floats) -> Cells:
    def split(name: str) -> Floats:
        known = _matrix(by_cluster, name)
        total = np.array([getattr(one, name) for one in totals])
        return np.column_stack((np.maximum(total - known.sum(axis=1), 0.0), known))

    requests = split("requests").sum(axis=0)
    traffic = requests / requests.sum() if requests.sum() > 0 else np.eye(len(requests))[0]
    return Cells(
        labels=split("labels"),
        scores=split("score"),
        squares=np.array([one.score_sq for one in totals]),
        log_price=_log_price(cost_usd),
        traffic=traffic,
    )


def _since_breaks(cells: Cells, learned: Sequence[ArmSums], settings: BanditSettings) -> tuple[Cells, Floats]:
    """Return the cells with what is left of the evidence on arms that have become worse, and the share that is left."""
    noise_sd = np.sqrt(noise_variance(cells, settings)).tolist()
    labels, scores = cells.labels.sum(axis=1), cells.scores.sum(axis=1)
    evidence = zip(learned, labels.tolist(), scores.tolist(), noise_sd, strict=True)
    breaks = [find_break(one.blocks, n, score, sd) for one, n, score, sd in evidence]
    kept = np.array([1.0 if one is None else one.kept for one in breaks])
    shift = np.array([0.0 if one is None else one.shift for one in breaks])
    if (kept == 1.0).all():
        return cells, kept
    since = replace(
        cells,
        labels=kept[:, None] * cells.labels,
        scores=kept[:, None] * (cells.scores + shift[:, None] * cells.labels),
        squares=kept * (cells.squares + 2 * shift * scores + shift**2 * labels),
    )
    return since, kept


def _log_price(cost_usd: Floats) -> Floats:
    """Return ln of the expected cost of an answer, centred; 0 where it is unknown or the model is free."""
    priced = np.nan_to_num(cost_usd) > 0
    logs = np.log(np.where(priced, cost_usd, 1.0))
    return np.where(priced, logs - logs[priced].mean() if priced.any() else 0.0, 0.0)


def _rows(overall: Floats, total: Floats, count: Floats, pseudo_count: float) -> Floats:
    """Return expectations over the traffic (row 0) and by cluster, shrunk towards those over the traffic."""
    rows = [shrink(total[:, c], count[:, c], overall, pseudo_count) for c in range(total.shape[1])]
    return np.vstack((overall, *rows))
