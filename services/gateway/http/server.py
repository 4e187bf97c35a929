"""HTTP server: an application on HOST and PORT, plain requests by the fast path, all others by aiohttp, hardened."""

from __future__ import annotations

from typing import cast

from aiohttp import web

from services.gateway.http.app_keys import REQUEST_LIFECYCLE
from services.gateway.http.chat_handler import JSON_TYPE
from services.gateway.http.fast_chat import MAX_BODY_BYTES, accepts, fast_routes
from services.gateway.http.hardened_protocol import (
    HEADER_TIMEOUT_S,
    KEEP_ALIVE_S,
    WRITE_TIMEOUT_S,
    HardenedServer,
    connection_cap,
)
from services.gateway.http.middlewares import build_finisher
from shared.fast_path import PlainResponse, listen
from shared.logs import get_logger
from shared.schemas.problem import error_reply
from shared.settings import Settings

log = get_logger(__name__)


class _Runner(web.AppRunner):
    """An application's runner on a `HardenedServer`."""

    def __init__(self, app: web.Application, settings: Settings, **options: float) -> None:
        super().__init__(app, shutdown_timeout=settings.DRAIN_TIMEOUT_S)
        self._settings = settings
        self._options = options

    async def _make_server(self) -> web.Server:
        options = {
            "header_timeout_s": min(HEADER_TIMEOUT_S, self._settings.BODY_TIMEOUT_S),
            "write_timeout_s": WRITE_TIMEOUT_S,
            **self._options,
        }
        cap = int(options.pop("max_connections", connection_cap()))
        return HardenedServer(await super()._make_server(), self._settings, max_connections=cap, **options)


async def serve(app: web.Application, settings: Settings, **options: float) -> web.AppRunner:
    """Start `app` on HOST and PORT, and on SHARED_PORT if it is set. `await runner.cleanup()` stops it.

    Stopping closes the listener, lets open responses finish for DRAIN_TIMEOUT_S, cancels the rest, and runs the
    application's clean-up. `options` are `max_connections`, `header_timeout_s` and `write_timeout_s`.
    """
    app.on_response_prepare.append(build_finisher(app[REQUEST_LIFECYCLE]))
    runner = _Runner(app, settings, **options)
    await runner.setup()
    server = cast("HardenedServer", runner.server)  # there is one from `setup` to `cleanup`
    try:
        for port, is_shared in ((settings.PORT, False), (settings.SHARED_PORT, True)):
            if port:
                await listen(
                    runner,
                    (settings.HOST, port),
                    fast_routes(app),
                    _on_error,
                    max_body=min(MAX_BODY_BYTES, settings.MAX_BODY_BYTES),
                    keep_alive_s=KEEP_ALIVE_S,
                    write_timeout_s=options.get("write_timeout_s", WRITE_TIMEOUT_S),
                    accepts=accepts,
                    is_full=lambda transport: server.refusal(transport) is not None,
                    is_shared=is_shared,
                )
    except OSError:
        await runner.cleanup()
        raise
    return runner


def _on_error(error: Exception) -> PlainResponse:
    """Return the response to an error outside the request lifecycle."""
    log.error("request failed outside the application", exc_info=error)
    reply = error_reply(Exception())
    return PlainResponse(reply.status, {"Content-Type": JSON_TYPE, **reply.headers}, reply.body)
