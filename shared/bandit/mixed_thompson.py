"""The product's policy: Thompson sampling on the mixed model (`mixed.py`), with neighbours where they help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.bandit.arms import Arm, ArmId
from shared.bandit.breaks import in_rows, scaled, since_breaks
from shared.bandit.context import Context
from shared.bandit.decision import Decision
from shared.bandit.evidence import SourceCells
from shared.bandit.exploration import arm_scale, explored_bounds, rated_share
from shared.bandit.kinds import Kinds
from shared.bandit.kinship import kinship
from shared.bandit.local import gate_open, search_share
from shared.bandit.mixed import Cells, fit_mixed
from shared.bandit.policy import PSEUDO_REQUESTS, BanditSettings
from shared.bandit.posterior import Beliefs, GaussianPosterior, KindEvidence
from shared.bandit.reward import expect, reliability, shrink
from shared.bandit.sources import Source
from shared.bandit.sums import ArmSums, LearnedState, SourceSums
from shared.bandit.thompson import decide

Floats = NDArray[np.float64]
T = TypeVar("T")

NEARBY = 3
"""Requests of another kind count as nearby with the similarity of the kinds (`kinship.py`) to this power."""


@dataclass(frozen=True, slots=True)
class MixedThompson:
    """`Policy` of the product."""

    settings: BanditSettings
    name: str = "mixed-thompson-3"

    def fit(self, state: LearnedState, arms: Sequence[Arm]) -> GaussianPosterior:
        """Turn sums into a posterior over `arms`. About 25 ms for 12 arms and 64 kinds: not for the event loop."""
        settings, kinds = self.settings, state.kinds
        learned = [state.arms.get(arm.id, _NOTHING) for arm in arms]
        totals = tuple(one.total for one in learned)
        by_kind = _by_kind(learned, kinds)
        expected = expect(arms, totals, PSEUDO_REQUESTS)
        covariates = np.column_stack((_log_price(expected.cost_usd), _benchmark(arms)))
        cells = _cells(learned, by_kind, covariates, kinds)
        cells, kept = since_breaks(cells, learned, kinds)
        scored = float(cells.labels.sum())
        if scored < settings.min_requests_for_global:
            cells = _without_ratings(cells)
        fit = fit_mixed(cells, level=settings.optimistic_prior, bonus=settings.exploration_bonus)
        requests = by_kind["requests"]
        rated = rated_share(float(cells.ratings.labels.sum()), sum(one.requests for one in totals))
        nearby = cells.kernel[1:, 1:] ** NEARBY
        return GaussianPosterior(
            version=state.version,
            arms=tuple(arm.id for arm in arms),
            index={arm.id: i for i, arm in enumerate(arms)},
            sums=totals,
            quality=np.vstack((fit.mean, fit.kind_mean.T)),
            variance=np.vstack((fit.variance, fit.kind_variance.T)),
            contrast=np.vstack((fit.contrast_variance, fit.kind_contrast.T)),
            arm_variance=arm_scale(cells.labels.sum(axis=1), rated) ** 2 * fit.contrast_variance
            + arm_scale(cells.ratings.labels.sum(axis=1), rated) ** 2 * fit.bias_variance,
            cost_usd=_rows(expected.cost_usd, by_kind["cost_usd"], by_kind["priced"]),
            latency_s=_rows(expected.latency_s, by_kind["latency_s"], by_kind["answers"]),
            reliability=reliability(totals, PSEUDO_REQUESTS),
            kept=kept,
            noise=fit.noise,
            local_gate=gate_open(totals),
            search_share=search_share(totals),
            kinds=kinds,
            kind_variance=fit.kind_spread**2,
            requests_nearby=nearby @ requests.sum(axis=0),
            arm_labels_nearby=nearby @ cells.labels[:, 1:].T,
            evidence=KindEvidence(by_kind["requests"], by_kind["labels"]),
            sources=fit.sources,
            rated=rated,
            exploration_rate=settings.exploration_rate,
        )

    def decide(
        self, posterior: GaussianPosterior, context: Context, eligible: Sequence[ArmId], rng: np.random.Generator
    ) -> Decision:
        """Rank `eligible`, with the probability of every one of them."""

        def bounds(arms: int, beliefs: Beliefs) -> tuple[float, float]:
            rate = self.settings.exploration_rate
            return explored_bounds(rate, arms, beliefs.requests_nearby, beliefs.labels_nearby)

        return decide(posterior, context, eligible, rng, settings=self.settings, policy=self.name, bounds=bounds)


_NOTHING = ArmSums()
_NO_SCORES = SourceSums()


_BY_KIND = ("labels", "score", "requests", "answers", "priced", "cost_usd", "latency_s")


def _by_kind(learned: Sequence[ArmSums], kinds: Kinds | None) -> dict[str, Floats]:
    """Return the sums of each arm in each kind, (K, M) by field; those of merged kinds are in what they merged into."""
    found = np.zeros((len(_BY_KIND), len(learned), 0 if kinds is None else len(kinds.ids)))
    if kinds is not None:
        for arm, one in enumerate(learned):
            for row, sums in in_rows(one.kinds, kinds):
                found[:, arm, row] += [getattr(sums, name) for name in _BY_KIND]
    return dict(zip(_BY_KIND, found, strict=True))


def _cells(learned: Sequence[ArmSums], by_kind: Mapping[str, Floats], covariates: Floats, kinds: Kinds | None) -> Cells:
    totals = [one.total for one in learned]

    def split(name: str) -> Floats:
        return _split(np.array([getattr(one, name) for one in totals]), by_kind[name])

    requests = split("requests").sum(axis=0)
    traffic = requests / requests.sum() if requests.sum() > 0 else np.eye(len(requests))[0]
    kernel = np.eye(len(requests))
    if kinds is not None:
        kernel[1:, 1:] = kinship(kinds.centres.astype(np.float64), kinds.masses)
    squares = np.array([one.score_sq for one in totals])
    return Cells(
        ratings=SourceCells(Source.USER, split("labels"), split("score"), squares),
        covariates=covariates,
        traffic=traffic,
        kernel=kernel,
        others=tuple(
            _of_source(source, learned, kinds) for source in Source if any(source in x.sources for x in learned)
        ),
    )


def _split(total: Floats, known: Floats) -> Floats:
    """Return sums by kind, (K, 1 + M), from those of all prompts, (K,), and of the known kinds, (K, M)."""
    return np.column_stack((np.maximum(total - known.sum(axis=1), 0.0), known))


def _of_source(source: Source, learned: Sequence[ArmSums], kinds: Kinds | None) -> SourceCells:
    sums = [one.sources.get(source, _NO_SCORES) for one in learned]
    known = np.zeros((2, len(learned), 0 if kinds is None else len(kinds.ids)))
    if kinds is not None:
        for arm, one in enumerate(sums):
            for row, scores in in_rows(one.kinds, kinds):
                known[:, arm, row] += scores.labels, scores.score
    labels, scores, squares = np.array([(x.total.labels, x.total.score, x.total.score_sq) for x in sums]).T
    return SourceCells(source, _split(labels, known[0]), _split(scores, known[1]), squares)


def _without_ratings(cells: Cells) -> Cells:
    return replace(cells, ratings=scaled(cells.ratings, np.zeros_like(cells.ratings.labels)), others=())


def _log_price(cost_usd: Floats) -> Floats:
    """Return ln of the expected cost of an answer, centred; 0 where it is unknown or the model is free."""
    priced = np.nan_to_num(cost_usd) > 0
    return _centred(np.where(priced, np.log(np.where(priced, cost_usd, 1.0)), np.nan))


def _benchmark(arms: Sequence[Arm]) -> Floats:
    """Return the indices of quality in public benchmarks, centred; 0 where unknown."""
    return _centred(np.array([np.nan if arm.benchmark is None else arm.benchmark for arm in arms]))


def _centred(values: Floats) -> Floats:
    """Return the values less their mean; 0 for NaN."""
    known = ~np.isnan(values)
    return np.where(known, values - values[known].mean() if known.any() else 0.0, 0.0)


def _rows(overall: Floats, total: Floats, count: Floats) -> Floats:
    """Return expectations over the traffic, twice (rows 0 and 1), and by kind, shrunk towards those."""
    return np.vstack((overall, overall, shrink(total.T, count.T, overall, PSEUDO_REQUESTS)))
