"""The commands that work on the history, put together from the same adapters as the worker."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from services.learner.export import export
from services.learner.historian import Historian
from services.learner.progress import shown
from services.learner.rebuild import Places, rebuild
from services.learner.vitals import TTL_S as HEARTBEAT_S
from services.learner.worker import make_index, open_history, stores
from shared.clock import SystemClock
from shared.metrics import LearnerMetrics
from shared.quick_http import QuickHttp
from shared.settings import Settings
from shared.storage.redis_connection import connect
from shared.storage.redis_outbox import RedisOutbox
from shared.storage.redis_queue import RedisHeartbeats
from shared.storage.redis_requests import GRACE_S
from shared.storage.redis_restore import RedisRestorer

COMMAND_TIMEOUT_S = 60.0
"""Nobody waits behind a command: a page of the history may take longer than a job's."""


async def rebuild_all(settings: Settings, *, wipe: bool) -> str:
    """Put Redis and Qdrant back; return what was done, in words."""
    clock, window_s = SystemClock(), settings.FEEDBACK_WINDOW_HOURS * 3600.0
    async with contextlib.AsyncExitStack() as stack:
        client = connect(settings)
        stack.push_async_callback(client.aclose, close_connection_pool=True)
        qdrant = await stack.enter_async_context(QuickHttp(settings.QDRANT_URL))
        history = open_history(settings, timeout_s=COMMAND_TIMEOUT_S)
        stack.push_async_callback(history.close)
        _, posteriors = stores(settings, client, clock)
        outbox, metrics = RedisOutbox(client), LearnerMetrics(CollectorRegistry())
        historian = Historian(
            outbox, history, posteriors, settings.decisive_hash(), settings.decisive(), clock=clock, metrics=metrics
        )
        places = Places(
            history=history,
            historian=historian,
            outbox=outbox,
            restorer=RedisRestorer(client, window_s=window_s, clock=clock),
            posteriors=posteriors,
            index=make_index(settings, qdrant),
            heartbeats=RedisHeartbeats(client),
            clock=clock,
        )
        done = await rebuild(
            places,
            shown("rebuilding"),
            recency_days=settings.RECENCY_DAYS,
            lifetime_s=window_s + GRACE_S,
            wipe=wipe,
            patience_s=HEARTBEAT_S + 2.0,
        )
    models = len({arm for arm, _ in done.days})
    words = f"{done.requests:,} requests: beliefs of {models} models, {done.points:,} points"
    return words + (f"; {done.unlearned:,} outcomes or ratings were of no use" if done.unlearned else "")


async def export_all(settings: Settings, out: Path | None, *, since: float, vectors: bool) -> str:
    """Write the history to a file, or standard output; return what was done, in words. A file appears when complete."""
    history = open_history(settings, timeout_s=COMMAND_TIMEOUT_S)
    try:
        await history.prepare()
        if out is None:
            number = await export(history, sys.stdout.buffer, shown("exporting"), since=since, vectors=vectors)
        else:
            partial = out.with_name(out.name + ".partial")
            with partial.open("wb") as file:
                number = await export(history, file, shown("exporting"), since=since, vectors=vectors)
            partial.replace(out)
    finally:
        await history.close()
    return f"{number:,} requests exported"
