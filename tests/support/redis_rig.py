"""The ports that live in Redis, as fakes that share a memory or as adapters that share a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from services.gateway.models.runtime_models import ArmChanges, FreeArmMemory
from shared.evaluation_queue import EvaluationQueue
from shared.import_store import ImportStore
from shared.ports import EventQueue, Heartbeats, KindStore, Outbox, PosteriorStore, RequestLog, Restorer
from shared.posterior_history import PosteriorHistory
from shared.record_archive import RecordArchive
from shared.request_list import RequestList
from shared.schemas.history import OutboxBound
from shared.settings import Settings
from shared.storage import redis_keys
from shared.storage.redis_arms import RedisArmChanges, RedisFreeArms
from shared.storage.redis_connection import connect
from shared.storage.redis_evaluations import RedisEvaluationQueue
from shared.storage.redis_imports import RedisImportStore
from shared.storage.redis_kinds import RedisKindStore
from shared.storage.redis_outbox import RedisOutbox
from shared.storage.redis_posterior_history import RedisPosteriorHistory
from shared.storage.redis_posteriors import RedisPosteriorStore
from shared.storage.redis_queue import RedisEventQueue, RedisHeartbeats
from shared.storage.redis_request_list import RedisRequestList
from shared.storage.redis_requests import RedisRequestLog
from shared.storage.redis_restore import RedisRestorer
from shared.storage.redis_traffic import RedisTraffic
from shared.traffic import Traffic
from tests.support.fakes.arm_changes import FakeArmChanges, FakeFreeArms
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.evaluation_queue import FakeEvaluationQueue
from tests.support.fakes.event_queue import FakeEventQueue
from tests.support.fakes.heartbeats import FakeHeartbeats
from tests.support.fakes.import_store import FakeImportStore
from tests.support.fakes.kind_store import FakeKindStore
from tests.support.fakes.memory import Memory
from tests.support.fakes.outbox import FakeOutbox
from tests.support.fakes.posterior_history import FakePosteriorHistory
from tests.support.fakes.posterior_store import FakePosteriorStore
from tests.support.fakes.record_archive import FakeRecordArchive
from tests.support.fakes.request_list import FakeRequestList
from tests.support.fakes.request_log import FakeRequestLog
from tests.support.fakes.restorer import FakeRestorer
from tests.support.fakes.traffic import FakeTraffic

WINDOW_S = 3600.0
RECENCY_DAYS = 30.0


@dataclass
class Rig:
    """One world."""

    log: RequestLog
    request_list: RequestList
    traffic: Traffic
    posterior_history: PosteriorHistory
    posteriors: PosteriorStore
    second_reader: PosteriorStore
    queue: EventQueue
    evaluations: EvaluationQueue
    heartbeats: Heartbeats
    outbox: Outbox
    restorer: Restorer
    kinds: KindStore
    arm_changes: ArmChanges
    free_arms: FreeArmMemory
    imports: ImportStore
    import_kinds: KindStore
    import_posteriors: PosteriorStore
    clock: FakeClock
    archive: FakeRecordArchive = field(default_factory=FakeRecordArchive)
    """Records that Redis no longer keeps; the fakes keep all."""
    raw: Any = None  # redis-py says "awaitable or value" of every command
    """The server, for tests of what only Redis has; None with fakes."""

    async def pass_time(self, seconds: float) -> None:
        """Let both clocks run: ours, and that of the server."""
        self.clock.advance(seconds)
        if self.raw is not None:
            await asyncio.sleep(seconds)


def fake_rig(history_bound: int = 0) -> Rig:
    """Everything in memory."""
    memory = Memory()
    log = FakeRequestLog(memory, window_s=WINDOW_S, history_bound=history_bound)
    return Rig(
        log=log,
        request_list=FakeRequestList(memory, log),
        traffic=FakeTraffic(memory),
        posterior_history=FakePosteriorHistory(memory),
        posteriors=FakePosteriorStore(memory, recency_days=RECENCY_DAYS, history_bound=history_bound),
        second_reader=FakePosteriorStore(memory, recency_days=RECENCY_DAYS),
        queue=FakeEventQueue(memory),
        evaluations=FakeEvaluationQueue(memory, history_bound=history_bound),
        heartbeats=FakeHeartbeats(memory),
        outbox=FakeOutbox(memory),
        restorer=FakeRestorer(memory),
        kinds=FakeKindStore(memory),
        arm_changes=FakeArmChanges(memory),
        free_arms=FakeFreeArms(memory),
        imports=FakeImportStore(memory),
        import_kinds=FakeKindStore(memory),
        import_posteriors=FakePosteriorStore(memory, recency_days=RECENCY_DAYS),
        clock=memory.clock,
    )


@asynccontextmanager
async def redis_rig(
    url: str, history_bound: int = 0, history_bytes: int = 1_000_000, archive: RecordArchive | None = None
) -> AsyncIterator[Rig]:
    """Everything on a real Redis, with a clock that we hold."""
    client, clock, fake = connect(Settings(REDIS_URL=url)), FakeClock(), FakeRecordArchive()
    archive = archive or fake
    await client.flushall()
    queue, traffic = RedisEventQueue(client), RedisTraffic(client)
    await queue.prepare()
    rig = Rig(
        log=RedisRequestLog(
            client,
            window_s=WINDOW_S,
            clock=clock,
            history_bound=OutboxBound(history_bound, history_bytes),
            count=traffic.count,
            archive=archive,
        ),
        request_list=RedisRequestList(client, archive),
        traffic=traffic,
        posterior_history=RedisPosteriorHistory(client),
        posteriors=RedisPosteriorStore(
            client, recency_days=RECENCY_DAYS, clock=clock, history_bound=OutboxBound(history_bound, history_bytes)
        ),
        second_reader=RedisPosteriorStore(client, recency_days=RECENCY_DAYS, clock=clock),
        queue=queue,
        evaluations=RedisEvaluationQueue(client, history_bound=OutboxBound(history_bound, history_bytes)),
        heartbeats=RedisHeartbeats(client),
        outbox=RedisOutbox(client),
        restorer=RedisRestorer(client, window_s=WINDOW_S, clock=clock),
        kinds=RedisKindStore(client, clock=clock),
        arm_changes=RedisArmChanges(client),
        free_arms=RedisFreeArms(client),
        imports=RedisImportStore(client, lifetime_s=8 * RECENCY_DAYS * 86_400.0),
        import_kinds=RedisKindStore(client, clock=clock, key_of=redis_keys.imported),
        import_posteriors=RedisPosteriorStore(
            client, recency_days=RECENCY_DAYS, clock=clock, key_of=redis_keys.imported
        ),
        clock=clock,
        archive=fake,
        raw=client,
    )
    try:
        yield rig
    finally:
        await client.aclose(close_connection_pool=True)
