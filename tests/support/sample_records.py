"""Requests to test with."""

from __future__ import annotations

import os

import numpy as np

from shared.bandit.decision import ArmView, Decision, DecisionKind
from shared.schemas.records import Attempt, Outcome, RequestRecord, Status
from shared.schemas.storage import NewRecord
from tests.support.values import replace

ARM = "vendor/model-a"


def own_id(now: float) -> str:
    """A UUIDv7: 48 bits of time, then chance."""
    stamp = f"{round(now * 1000):012x}"
    chance = os.urandom(9).hex()
    return f"{stamp[:8]}-{stamp[8:]}-7{chance[:3]}-8{chance[3:6]}-{chance[6:18]}"


def a_record(
    now: float,
    *,
    request_id: str | None = None,
    public_id: str | None = None,
    owner: str = "public",
    status: Status = Status.ANSWERED,
    arm: str = ARM,
    cost_usd: float = 0.002,
    local_shift: float = 0.0,
    cluster: tuple[int, int] | None = None,
    embedding_model: str | None = "test-4",
) -> RequestRecord:
    """A record made at `now`."""
    request_id = request_id or own_id(now)
    view = ArmView(arm, 0.7, 0.1, 0.1, 0.7, local_shift, cost_usd, 1.0, 0.2, 0.8, 0.5, 0.6, 1.0, 12.0)
    decision = Decision(DecisionKind.GLOBAL, (arm,), 1.0, 0.9, "for a test", views=(view,), cluster=cluster)
    attempt = Attempt(arm, None if status is Status.ANSWERED else "status_503", 1.0, spent=True)
    outcome = Outcome(status, arm, cost_usd, "upstream", 12, 34, 0.004, 1.25, None, streamed=False, attempts=(attempt,))
    return RequestRecord(
        id=request_id,
        public_id=public_id or request_id,
        owner=owner,
        created_at=now,
        requested_model=None,
        embedding_model=embedding_model,
        decision=decision,
        outcome=outcome,
    )


def a_new_record(now: float, **facts: object) -> NewRecord:
    """A record with a vector, ready to be stored."""
    vector = np.array([0.5, 0.5, 0.5, 0.5], dtype=np.float32)
    return NewRecord(a_record(now, **facts), vector)  # type: ignore[arg-type]  # the facts are a_record's own


def without_vector(entry: NewRecord) -> NewRecord:
    """The same, made while the embedder was away."""
    return replace(entry, vector=None)
