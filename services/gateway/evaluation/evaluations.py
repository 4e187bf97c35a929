"""Evaluations of a gateway: a draw for each request while the upstream works, and a task for each drawn answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from services.gateway.evaluation.judge import Judge
from services.gateway.evaluation.planner import EvaluationPlanner, Routed
from services.gateway.evaluation.submitter import Answered, EvaluationSubmitter
from services.gateway.models.catalogue import Catalogue
from services.gateway.models.posterior_cache import PosteriorCache, Snapshot
from shared.bandit.racing import EvaluationPlan, EvaluationTerms
from shared.bandit.sums import NANO
from shared.evaluation_queue import EvaluationQueue
from shared.metrics import GatewayMetrics
from shared.ports import Clock
from shared.resilience.upstream_circuits import CircuitBreakers
from shared.schemas.answer_parts import AnswerChoice
from shared.schemas.records import Outcome, Status
from shared.settings import Settings


class RequestEvaluation:
    """Evaluation of one request. It is drawn once: by `draw`, or when `plan` is first read."""

    def __init__(
        self, routed: Routed, snapshot: Snapshot, *, planner: EvaluationPlanner, submitter: EvaluationSubmitter
    ) -> None:
        self._routed = routed
        self._snapshot = snapshot
        self._planner = planner
        self._submitter = submitter

    @cached_property
    def plan(self) -> EvaluationPlan | None:
        """The plan; None for no evaluation."""
        return self._planner.plan(self._routed, self._snapshot)

    def draw(self) -> None:
        """Draw now."""
        _ = self.plan

    def submit(self, choices: Sequence[AnswerChoice], outcome: Outcome, stored: asyncio.Future[bool]) -> None:
        """Submit the request, which has been recorded, if its evaluation was drawn and it was answered."""
        if self.plan is not None and outcome.status is Status.ANSWERED:
            request, body = self._routed.request, self._routed.chat.body
            answered = Answered(self.plan, request.own_id, request.owner, body, choices, outcome, stored)
            self._submitter.offer(answered)


class Evaluations:
    """Starts evaluations; there is one object of this kind where JUDGE_MODEL is set."""

    def __init__(self, planner: EvaluationPlanner, submitter: EvaluationSubmitter, posteriors: PosteriorCache) -> None:
        self._planner = planner
        self._posteriors = posteriors
        self.submitter = submitter

    def begin(self, routed: Routed) -> RequestEvaluation | None:
        """Return the evaluation of a request, to be drawn while it waits for the upstream; None for none."""
        snapshot, paused = self._posteriors.snapshot, self.submitter.paused
        if paused is not None:
            self._planner.metrics.evaluation_requests.labels(paused).inc()
        if paused is not None or snapshot is None:
            return None
        evaluation = RequestEvaluation(routed, snapshot, planner=self._planner, submitter=self.submitter)
        # The next turn of the loop comes when the request's call has been written: a draw takes as long as a decision.
        asyncio.get_running_loop().call_soon(evaluation.draw)
        return evaluation


def build_evaluations(
    settings: Settings,
    queue: EvaluationQueue,
    posteriors: PosteriorCache,
    *,
    catalogue: Catalogue,
    circuit_breakers: CircuitBreakers,
    clock: Clock,
    metrics: GatewayMetrics,
) -> Evaluations | None:
    """Return the evaluations that the settings want; None without JUDGE_MODEL."""
    if settings.JUDGE_MODEL is None:
        return None
    judge = Judge(settings.JUDGE_MODEL, catalogue)
    planner = EvaluationPlanner(
        judge=judge,
        catalogue=catalogue,
        circuit_breakers=circuit_breakers,
        weights=settings.bandit().weights,
        terms=EvaluationTerms(settings.EVALUATION_MAX_SHARE, settings.EVALUATION_SHARE),
        off_keys=settings.EVALUATION_OFF_KEYS,
        metrics=metrics,
        rng=np.random.default_rng(),
    )
    submitter = EvaluationSubmitter(
        queue,
        judge=judge,
        catalogue=catalogue,
        clock=clock,
        metrics=metrics,
        budget_nano_usd=round(settings.EVALUATION_BUDGET_USD_PER_DAY * NANO),
        most_waiting=settings.EVALUATION_MAX_WAITING,
        timeout_s=settings.REDIS_TIMEOUT_MS / 1000,
    )
    return Evaluations(planner, submitter, posteriors)
