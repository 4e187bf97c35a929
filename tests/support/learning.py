"""A learner to test with."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry

from services.learner.learning.apply_events import EventLearner
from shared.metrics import LearnerMetrics
from tests.support.assigning import a_kind_assigner
from tests.support.redis_rig import Rig


def a_learner(rig: Rig, name: str = "me", **options: Any) -> EventLearner:
    """Return a learner of the events in `rig`; `options` are those of `EventLearner`."""
    return EventLearner(
        name,
        queue=rig.queue,
        log=rig.log,
        posteriors=rig.posteriors,
        kinds=a_kind_assigner(rig.kinds, rig.log, rig.clock),
        clock=rig.clock,
        metrics=LearnerMetrics(CollectorRegistry()),
        **options,
    )
