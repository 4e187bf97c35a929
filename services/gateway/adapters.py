"""What the gateway is built from. `app.py` makes the real ones; tests hand in fakes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from services.gateway.models.runtime_models import ArmChanges, FreeArmMemory
from services.gateway.process.database_health import DatabaseHealth
from shared.ports import ChatModel, Clock, Embedder, EventQueue, Heartbeats, PosteriorStore, RequestIndex, RequestLog
from shared.tracing import IdTracer, Tracer


@dataclass(frozen=True, slots=True, eq=False)
class Adapters:
    """One implementation of each port. `redis_version` asks a Redis that takes writes for its version.

    `database` is there where there is a history.
    """

    embedder: Embedder
    index: RequestIndex
    log: RequestLog
    store: PosteriorStore
    queue: EventQueue
    heartbeats: Heartbeats
    arm_changes: ArmChanges
    free_arms: FreeArmMemory
    upstream: ChatModel
    clock: Clock
    redis_version: Callable[[], Awaitable[str]]
    database: DatabaseHealth | None = None
    tracer: Tracer = field(default_factory=IdTracer)
