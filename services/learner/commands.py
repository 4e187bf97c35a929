"""The commands that work on the history, put together from the same adapters as the worker."""

from __future__ import annotations

import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from services.learner.export import export
from services.learner.progress import shown
from services.learner.rebuild import Places, rebuild
from services.learner.vitals import TTL_S as HEARTBEAT_S
from services.learner.worker import open_adapters, open_history
from shared.metrics import LearnerMetrics
from shared.settings import Settings
from shared.storage.redis_requests import GRACE_S
from shared.storage.redis_restore import RedisRestorer

COMMAND_TIMEOUT_S = 60.0
"""Nobody waits behind a command: a page of the history may take longer than a job's."""


async def rebuild_all(settings: Settings, *, wipe: bool) -> str:
    """Put Redis and Qdrant back; return what was done, in words."""
    window_s = settings.FEEDBACK_WINDOW_HOURS * 3600.0
    async with open_adapters(settings) as adapters, open_history(settings, timeout_s=COMMAND_TIMEOUT_S) as history:
        places = Places(
            history=history,
            historian=adapters.historian(history, LearnerMetrics(CollectorRegistry())),
            outbox=adapters.outbox,
            restorer=RedisRestorer(adapters.client, window_s=window_s, clock=adapters.clock),
            posteriors=adapters.posteriors,
            index=adapters.index,
            heartbeats=adapters.heartbeats,
            clock=adapters.clock,
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
    async with open_history(settings, timeout_s=COMMAND_TIMEOUT_S) as history:
        await history.prepare()
        if out is None:
            number = await export(history, sys.stdout.buffer, shown("exporting"), since=since, vectors=vectors)
        else:
            partial = out.with_name(out.name + ".partial")
            with partial.open("wb") as file:
                number = await export(history, file, shown("exporting"), since=since, vectors=vectors)
            partial.replace(out)
    return f"{number:,} requests exported"
