"""Composition root of the local Qdrant engine, with its periodic maintenance."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from deploy.qdrant_engine import files
from deploy.qdrant_engine.collections import Collections
from deploy.qdrant_engine.fast_routes import FastRoutes
from deploy.qdrant_engine.replies import failure
from deploy.qdrant_engine.routes import COLLECTIONS, add_routes
from shared.fast_path import listen
from shared.stop_signals import stop_event

MAX_BODY = 32 * 1024 * 1024
"""Qdrant's own limit of a request body."""
MAINTENANCE_S = 5.0
"""Interval of syncing the logs to disk, like Qdrant's `flush_interval_sec`: a power cut loses at most that much, and
kill -9 loses nothing."""
MAX_QUICK_BODY = 1024 * 1024
"""Longer bodies go to aiohttp: parsing them costs more than the fast path saves."""
KEEP_ALIVE_S = 3600.0
"""Longer than any client keeps an idle connection, so that no request arrives on a closing one."""

logger = logging.getLogger(__name__)


async def _maintain(collections: Collections) -> None:
    while True:
        await asyncio.sleep(MAINTENANCE_S)
        try:
            await collections.maintain()
        except Exception:
            logger.exception("maintenance failed; the next run tries again")


def build_app(root: Path) -> web.Application:
    """Return the application of a folder. Its start raises BlockingIOError when another process uses the folder."""
    app = web.Application(client_max_size=MAX_BODY)

    async def run(_app: web.Application) -> AsyncIterator[None]:
        with files.lock(root):
            collections = Collections(root)
            collections.load()
            app[COLLECTIONS] = collections
            maintenance = asyncio.create_task(_maintain(collections))
            yield
            maintenance.cancel()
            await asyncio.gather(maintenance, return_exceptions=True)
            await collections.close()

    app.cleanup_ctx.append(run)
    add_routes(app)
    return app


async def serve(root: Path, host: str, port: int) -> None:
    """Serve a folder until SIGTERM or SIGINT. Raises BlockingIOError when another process uses it."""
    stop = stop_event()
    app = build_app(root)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEEP_ALIVE_S)
    try:
        await runner.setup()
        routes = FastRoutes(app[COLLECTIONS])
        await listen(runner, (host, port), routes, failure, max_body=MAX_QUICK_BODY, keep_alive_s=KEEP_ALIVE_S)
        await stop.wait()
    finally:
        await runner.cleanup()
