"""Listener of a server with a fast path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import cast

from aiohttp import web

from shared.fast_path.plain_request import PlainRequest
from shared.fast_path.protocol import FastPathProtocol, Handler, Options
from shared.fast_path.response_writer import PlainResponse


async def listen(
    runner: web.AppRunner,
    address: tuple[str, int],
    routes: Mapping[bytes, Handler],
    on_error: Callable[[Exception], PlainResponse],
    *, max_body: int, keep_alive_s: float,
    write_timeout_s: float | None = None,
    accepts: Callable[[PlainRequest], bool] = lambda _request: True,
    is_full: Callable[[asyncio.BaseTransport], bool] = lambda _transport: False,
    is_shared: bool = False,
) -> None:  # fmt: skip
    """Listen on `address` for a runner that is set up, and that stops it as it stops aiohttp's own sites.

    `routes` has the handlers by request line, `on_error` makes the response to an error that a handler raises. Bodies
    of more than `max_body` bytes are aiohttp's, and so is what `accepts` refuses. An idle connection is closed after
    `keep_alive_s`, one whose client does not read after `write_timeout_s` (by default the same). A new connection for
    which the server `is_full` is aiohttp's to turn away. A port that `is_shared` can have several listeners of one
    user, among which the kernel divides new connections (SO_REUSEPORT). Raises OSError.
    """
    server = cast("web.Server", runner.server)  # there is one from `setup` to `cleanup`
    write_s = keep_alive_s if write_timeout_s is None else write_timeout_s
    options = Options(server, routes, on_error, max_body, keep_alive_s, write_s, accepts, is_full)
    await _Site(runner, options, address, is_shared=is_shared).start()


class _Site(web.BaseSite):
    """Listener for the fast path's protocol."""

    def __init__(self, runner: web.AppRunner, options: Options, address: tuple[str, int], *, is_shared: bool) -> None:
        super().__init__(runner, backlog=1024)
        self._options = options
        self._address = address
        self._is_shared = is_shared

    @property
    def name(self) -> str:
        """Its address."""
        host, port = self._address
        return f"http://{host}:{port}"

    async def start(self) -> None:
        """Listen. Raises OSError."""
        await super().start()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: FastPathProtocol(self._options),
            *self._address,
            backlog=self._backlog,
            reuse_port=self._is_shared or None,
        )
