"""HTTP endpoints of a learner: `GET /metrics` and `GET /health`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from services.learner.process.heartbeat import HeartbeatLoop
from shared.logs import get_logger
from shared.resilience.supervision import Supervisor

_log = get_logger(__name__)


def make_health_app(heartbeat: HeartbeatLoop, registry: CollectorRegistry, supervisor: Supervisor) -> web.Application:
    """Return the aiohttp application."""

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def health(_request: web.Request) -> web.Response:
        # Always 200: without Redis there is nothing to learn, and a restart of the learner would not help.
        trouble = supervisor.trouble()
        return web.json_response({
            "status": "degraded" if heartbeat.redis_away or trouble else "ok",
            "worker": heartbeat.worker,
            "version": heartbeat.version,
            "redis": "away" if heartbeat.redis_away else "ok",
            "trouble": trouble,
            "background": {name: pulse.view() for name, pulse in supervisor.pulses.items()},
        })  # fmt: skip

    app = web.Application(client_max_size=1024)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/health", health)
    return app


@contextlib.asynccontextmanager
async def serving(app: web.Application, host: str, port: int) -> AsyncIterator[None]:
    """Serve while the block runs; not at all with port 0. A port in use is logged, and learning goes on."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, keepalive_timeout=15)
    await runner.setup()
    try:
        if port:
            try:
                await web.TCPSite(runner, host, port).start()
            except OSError as error:
                _log.error(
                    "metrics and health are not served: the port cannot be opened",
                    port=port,
                    error=type(error).__name__,
                )
        yield
    finally:
        await runner.cleanup()
