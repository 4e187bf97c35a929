"""Composition root of the embedder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from services.embedder import handlers
from services.embedder.embed_endpoint import EmbedEndpoint, error_reply
from services.embedder.encoder import Encoder
from services.embedder.micro_batcher import BatchLimits, MicroBatcher
from shared.errors import SettingsError
from shared.fast_path import listen
from shared.logs import get_logger
from shared.metrics import EmbedderMetrics, ProcessMetrics, new_registry
from shared.resilience.supervision import Supervisor
from shared.settings import Settings
from shared.stop_signals import stop_event

KEEP_ALIVE_S = 75.0
"""Longer than the gateway keeps an idle connection (15 s), so that no request arrives on a closing one."""

log = get_logger(__name__)


def build_app(settings: Settings, encoder: Encoder) -> web.Application:
    """Return the application of a loaded model."""
    app = web.Application(middlewares=[handlers.errors], client_max_size=settings.MAX_BODY_BYTES)
    app[handlers.SETTINGS] = settings
    app[handlers.MODEL] = encoder.model
    app[handlers.REGISTRY] = new_registry("embedder")
    supervisor = app[handlers.SUPERVISOR] = Supervisor(ProcessMetrics(app[handlers.REGISTRY]).restarts)
    app[handlers.DRAINING] = asyncio.Event()
    limits = BatchLimits(
        size=settings.EMBED_BATCH_SIZE,
        wait_s=settings.EMBED_BATCH_WAIT_MS / 1000,
        queue=settings.EMBED_QUEUE_LIMIT,
        cache=settings.EMBED_CACHE_SIZE,
    )

    async def batching(app: web.Application) -> AsyncIterator[None]:
        batcher = app[handlers.BATCHER] = MicroBatcher(
            encoder, limits, EmbedderMetrics(app[handlers.REGISTRY]), supervisor
        )
        app[handlers.ENDPOINT] = EmbedEndpoint(
            batcher, encoder.model, settings.EMBED_QUEUE_LIMIT, settings.EMBED_MAX_CHARS
        )
        yield
        await batcher.close()

    app.cleanup_ctx.append(batching)
    app.add_routes([
        web.post("/embed", handlers.embed),
        web.get("/health", handlers.health),
        web.get("/ready", handlers.ready),
        web.get("/metrics", handlers.metrics),
    ])  # fmt: skip
    return app


async def start(app: web.Application, settings: Settings) -> web.AppRunner:
    """Listen; `await runner.cleanup()` drains and stops. Raises SettingsError when the port cannot be opened."""
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,  # a caller that gives up frees its place in the queue
        keepalive_timeout=KEEP_ALIVE_S,
        shutdown_timeout=settings.DRAIN_TIMEOUT_S,
    )
    await runner.setup()
    try:
        await listen(
            runner,
            (settings.EMBEDDER_HOST, settings.EMBEDDER_PORT),
            {handlers.EMBED: handlers.fast_embed(app)},
            error_reply,
            max_body=settings.MAX_BODY_BYTES,
            keep_alive_s=KEEP_ALIVE_S,
        )
    except OSError as error:
        await runner.cleanup()
        where = f"EMBEDDER_HOST={settings.EMBEDDER_HOST} EMBEDDER_PORT={settings.EMBEDDER_PORT}"
        raise SettingsError(f"cannot listen on {where}: {error.strerror}") from error
    return runner


async def serve(settings: Settings, encoder: Encoder) -> int:
    """Serve until SIGTERM or SIGINT, then drain; return the exit code, 1 when a background loop kept failing."""
    stop = stop_event()
    app = build_app(settings, encoder)
    supervisor = app[handlers.SUPERVISOR]
    supervisor.on_broken = stop.set
    runner = await start(app, settings)
    log.info("ready", model=encoder.model.id, dimension=encoder.model.dimension, port=settings.EMBEDDER_PORT)
    await stop.wait()
    app[handlers.DRAINING].set()
    await asyncio.sleep(settings.DRAIN_DELAY_S)
    await runner.cleanup()
    log.info("stopped")
    return 0 if supervisor.broken is None else 1
