"""Adapters of the learner: Redis, Qdrant, the embedder and PostgreSQL, opened from one set of settings."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.learner.commands.import_scores import ImportStores
from services.learner.learning.assign_kinds import KindAssigner
from services.learner.learning.retention import counts_for_s
from services.learner.writers.history_writer import HistoryWriter
from shared.clients.embedder_client import HttpEmbedder
from shared.clients.http_upstreams import HttpUpstreams
from shared.clock import SystemClock
from shared.import_store import ImportHistory
from shared.metrics import LearnerMetrics
from shared.models_file import models_of
from shared.ports import Clock
from shared.quick_http import QuickHttp
from shared.schemas.storage import EmbeddingModel
from shared.settings import Settings, variables
from shared.storage import redis_keys
from shared.storage.qdrant_index import QdrantIndex
from shared.storage.redis_connection import Client, connect
from shared.storage.redis_evaluations import RedisEvaluationQueue
from shared.storage.redis_imports import RedisImportStore
from shared.storage.redis_kinds import RedisKindStore
from shared.storage.redis_outbox import RedisOutbox
from shared.storage.redis_posteriors import RedisPosteriorStore
from shared.storage.redis_queue import RedisEventQueue, RedisHeartbeats
from shared.storage.redis_requests import GRACE_S, RedisRequestLog
from shared.storage.redis_restore import RedisRestorer

if TYPE_CHECKING:
    from shared.storage.postgres_history import PostgresHistory

CALL_TIMEOUT_S = 4.0
"""Time-out of a call to the embedder, Qdrant or PostgreSQL. No client waits for it, but a job has to end in time."""
BATCH_TIMEOUT_S = 60.0
"""Time-out of a batch in a command. Requests go first, and a transformer takes seconds to embed it."""


@dataclass(frozen=True, slots=True, eq=False)
class Adapters:
    """The open adapters of one process. `request_lifetime_s`: how long Redis keeps a request."""

    settings: Settings
    clock: Clock
    client: Client
    queue: RedisEventQueue
    heartbeats: RedisHeartbeats
    outbox: RedisOutbox
    log: RedisRequestLog
    posteriors: RedisPosteriorStore
    kinds: RedisKindStore
    restorer: RedisRestorer
    evaluations: RedisEvaluationQueue
    index: QdrantIndex
    embedder: QuickHttp
    imports: RedisImportStore
    request_lifetime_s: float

    async def fetch_model(self) -> EmbeddingModel:
        """Fetch the embedder's current model."""
        # A client caches the model until it has embedded with another one. This process never embeds: a new client.
        return await HttpEmbedder(self.embedder, timeout_s=CALL_TIMEOUT_S).model()

    def history_writer(self, history: PostgresHistory, metrics: LearnerMetrics) -> HistoryWriter:
        """Return a writer from the outbox into `history`."""
        decisive = self.settings.decisive_hash(), self.settings.decisive()
        return HistoryWriter(self.outbox, history, self.kinds, *decisive, clock=self.clock, metrics=metrics)


@contextlib.asynccontextmanager
async def open_adapters(settings: Settings) -> AsyncIterator[Adapters]:
    """Open the adapters, which connect on first use; close them at the end."""
    clock, client = SystemClock(), connect(settings)
    window_s, bound = settings.FEEDBACK_WINDOW_HOURS * 3600.0, settings.history_bound
    days, key = settings.RECENCY_DAYS, settings.QDRANT_API_KEY
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(client.aclose, close_connection_pool=True)
        qdrant = await stack.enter_async_context(QuickHttp(settings.QDRANT_URL))
        yield Adapters(
            settings=settings,
            clock=clock,
            client=client,
            queue=RedisEventQueue(client),
            heartbeats=RedisHeartbeats(client),
            outbox=RedisOutbox(client),
            log=RedisRequestLog(
                client, window_s=window_s, story_s=settings.STORY_HOURS * 3600.0, clock=clock, history_bound=bound
            ),
            posteriors=RedisPosteriorStore(client, recency_days=days, clock=clock, history_bound=bound),
            kinds=RedisKindStore(client, clock=clock),
            restorer=RedisRestorer(client, window_s=window_s, clock=clock),
            evaluations=RedisEvaluationQueue(client, history_bound=bound, traffic=settings.traffic_bounds),
            index=QdrantIndex(qdrant, api_key=key.get_secret_value() if key else None, timeout_s=CALL_TIMEOUT_S),
            embedder=await stack.enter_async_context(QuickHttp(settings.EMBEDDER_URL)),
            imports=RedisImportStore(client, lifetime_s=counts_for_s(days)),
            request_lifetime_s=window_s + GRACE_S,
        )


@contextlib.asynccontextmanager
async def open_history(settings: Settings, *, timeout_s: float = CALL_TIMEOUT_S) -> AsyncIterator[PostgresHistory]:
    """Open the history in PostgreSQL; close it at the end."""
    # Imported here: the driver costs memory and start-up time, and most deployments run without a history.
    module = importlib.import_module("shared.storage.postgres_history")
    history: PostgresHistory = module.PostgresHistory(settings, timeout_s=timeout_s)
    try:
        yield history
    finally:
        await history.close()


@contextlib.asynccontextmanager
async def open_upstreams(settings: Settings) -> AsyncIterator[HttpUpstreams]:
    """Open connections of the learner's own to the upstreams; close them at the end. Raises SettingsError."""
    with contextlib.closing(HttpUpstreams(settings, models_of(settings, variables()))) as upstreams:
        yield upstreams


def import_history(history: PostgresHistory) -> ImportHistory:
    """Return the imports of a history."""
    imports: ImportHistory = importlib.import_module("shared.storage.postgres_imports").PostgresImports(history)
    return imports


@contextlib.asynccontextmanager
async def open_import_stores(adapters: Adapters, metrics: LearnerMetrics) -> AsyncIterator[ImportStores]:
    """Open the stores of imported scores, whose kinds and contributions are in hashes of their own."""
    settings, client, clock, key_of = adapters.settings, adapters.client, adapters.clock, redis_keys.imported
    kinds = RedisKindStore(client, clock=clock, key_of=key_of)
    model = adapters.fetch_model
    async with contextlib.AsyncExitStack() as stack:
        history = None
        if settings.ENABLE_PERSISTENCE:
            opened = await stack.enter_async_context(open_history(settings, timeout_s=BATCH_TIMEOUT_S))
            await opened.prepare()
            history = import_history(opened)
        yield ImportStores(
            imports=adapters.imports,
            kinds=KindAssigner(store=kinds, log=adapters.imports, fetch_model=model, clock=clock, metrics=metrics),
            posteriors=RedisPosteriorStore(client, recency_days=settings.RECENCY_DAYS, clock=clock, key_of=key_of),
            index=adapters.index,
            embedder=HttpEmbedder(adapters.embedder, timeout_s=BATCH_TIMEOUT_S),
            clock=clock,
            history=history,
        )
