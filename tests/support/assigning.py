"""A kind assigner to test with."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from services.learner.learning.assign_kinds import AssignmentLog, KindAssigner
from shared.metrics import LearnerMetrics
from shared.ports import Clock, KindStore
from shared.schemas.storage import EmbeddingModel

MODEL = EmbeddingModel("test-4", 4)


def a_kind_assigner(
    store: KindStore,
    log: AssignmentLog,
    clock: Clock,
    *,
    metrics: LearnerMetrics | None = None,
    model: EmbeddingModel = MODEL,
) -> KindAssigner:
    """Return an assigner whose embedder has `model`."""

    async def fetch_model() -> EmbeddingModel:
        return model

    return KindAssigner(
        store=store, log=log, fetch_model=fetch_model, clock=clock,
        metrics=metrics or LearnerMetrics(CollectorRegistry()),
    )  # fmt: skip
