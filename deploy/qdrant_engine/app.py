"""The application, and its upkeep every few seconds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from deploy.qdrant_engine import files
from deploy.qdrant_engine.answers import failure
from deploy.qdrant_engine.collections import Collections
from deploy.qdrant_engine.quick import QuickRoutes
from deploy.qdrant_engine.routes import COLLECTIONS, add_routes
from shared.fast_path import listen
from shared.stop_signals import stop_event

MAX_BODY = 32 * 1024 * 1024
"""Qdrant's own limit of a request body."""
UPKEEP_S = 5.0
"""So often logs are brought to the disk, as by Qdrant's `flush_interval_sec`. A power cut can lose so much; a kill -9
nothing."""
MAX_QUICK_BODY = 1024 * 1024
"""A longer one costs more to read than the fast path saves."""
KEEP_ALIVE_S = 3600.0
"""Longer than anybody keeps an idle connection, so that no request meets a closing one."""

logger = logging.getLogger(__name__)


async def _upkeep(collections: Collections) -> None:
    while True:
        await asyncio.sleep(UPKEEP_S)
        try:
            await collections.maintain()
        except Exception:
            logger.exception("upkeep failed; the next one tries again")


def build_app(root: Path) -> web.Application:
    """Build the application over a folder. Raises BlockingIOError when another process has it."""
    app = web.Application(client_max_size=MAX_BODY)

    async def run(_app: web.Application) -> AsyncIterator[None]:
        with files.lock(root):
            collections = Collections(root)
            collections.load()
            app[COLLECTIONS] = collections
            upkeep = asyncio.create_task(_upkeep(collections))
            yield
            upkeep.cancel()
            await asyncio.gather(upkeep, return_exceptions=True)
            await collections.close()

    app.cleanup_ctx.append(run)
    add_routes(app)
    return app


async def serve(root: Path, host: str, port: int) -> None:
    """Serve a folder until SIGTERM or SIGINT. Raises BlockingIOError when another process has it."""
    stop = stop_event()
    app = build_app(root)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEEP_ALIVE_S)
    try:
        await runner.setup()
        routes = QuickRoutes(app[COLLECTIONS])
        await listen(runner, (host, port), routes, failure, max_body=MAX_QUICK_BODY, keep_alive_s=KEEP_ALIVE_S)
        await stop.wait()
    finally:
        await runner.cleanup()
