"""The application, and its upkeep every few seconds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from deploy.qdrant_engine import files
from deploy.qdrant_engine.collections import Collections
from deploy.qdrant_engine.routes import COLLECTIONS, add_routes

MAX_BODY = 32 * 1024 * 1024
"""Qdrant's own limit of a request body."""
UPKEEP_S = 5.0
"""Seconds between flushes, as Qdrant's `flush_interval_sec`. A power cut can lose so much; a kill -9 nothing."""

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
