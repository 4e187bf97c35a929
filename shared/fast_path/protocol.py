"""Protocol of one connection: the fast path, and aiohttp behind it.

The protocol of a connection answers plain requests itself. For anything else it makes aiohttp's handler and passes it
what comes, until a plain request begins exactly where the last of aiohttp's requests has ended and been answered.

Whichever of the two is at work is one of the connections of aiohttp's `Server`, which counts and drains them: it calls
`close` and `shutdown`, and reads `_task_handler`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from shared.clock import DeadlineTimer
from shared.fast_path.plain_request import Head, NotPlain, PlainRequest, RequestBoundaries, may_begin, read_head
from shared.fast_path.response_writer import PlainResponse, ResponseWriter

ARRIVAL_S = 1.0
"""Time for a request to arrive; a slower one is aiohttp's, with its deadlines."""
HALF_CLOSE_S = 0.8
"""A client that has closed its sending side still gets a response that is ready by then. One that has left for good
looks the same, and its upstream call should be stopped soon."""
MAX_BEHIND_BYTES = 65_536
"""Bytes that may arrive behind a request in work; beyond it, the sender waits."""

Handler = Callable[[PlainRequest], Awaitable[PlainResponse | None]]
"""Returns a whole response, or None where it has written one in pieces to the request's `writer`."""


@dataclass(frozen=True, slots=True)
class Options:
    """What all connections of a server share; `listener.py` explains each."""

    server: web.Server
    routes: Mapping[bytes, Handler]
    on_error: Callable[[Exception], PlainResponse]
    max_body: int
    keep_alive_s: float
    write_timeout_s: float
    accepts: Callable[[PlainRequest], bool]
    is_full: Callable[[asyncio.BaseTransport], bool]


class FastPathProtocol(asyncio.Protocol):
    """One connection, one request at a time; what comes behind it waits in `_buffer`."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._task_handler: asyncio.Task[None] | None = None  # aiohttp's name; the request at work
        self._other: RequestHandler | None = None  # aiohttp's handler, while it has the connection
        self._boundaries = RequestBoundaries()
        self._buffer = bytearray()
        self._head: Head | None = None
        self._silent = True  # no request has come yet
        self._late = self._input_paused = self._output_paused = False
        self._writer = ResponseWriter()
        self._timer = DeadlineTimer(self._on_deadline)

    # -- opening and closing -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Become one of the server's connections."""
        full = self._options.is_full(transport)
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of no class of asyncio
        self._register()
        if full:
            self._hand_over(b"")
        else:
            self._expire_in(ARRIVAL_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the handler: its client is gone."""
        other, task = self._other, self._task_handler
        if other is None:
            self._unregister(exc)
        self._transport = self._other = None
        if other is not None:
            other.connection_lost(exc)
        elif task is not None:
            task.cancel()

    def eof_received(self) -> bool | None:
        """Return whether the connection stays open for the response in work, after the client has sent everything.

        A client may close its sending side and wait for the response.
        """
        if self._other is not None:
            return cast("bool | None", self._other.eof_received())
        if self._task_handler is None or self._transport is None:
            return False
        self._writer.last = True
        self._loop.call_later(HALF_CLOSE_S, self._give_up)
        return True

    def _give_up(self) -> None:
        if self._transport is not None and self._task_handler is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close now or after the response in work (aiohttp's `Server`, before it shuts down)."""
        self._writer.last = True
        if self._task_handler is None and self._transport is not None:
            self._transport.close()

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - aiohttp's `Server` calls it
        """Let the request in work take `timeout` seconds, then cancel it."""
        self.close()
        task = self._task_handler
        if task is not None:
            await asyncio.wait([task], timeout=timeout)
            task.cancel()
            await asyncio.wait([task], timeout=timeout)
        if self._transport is not None:
            self._transport.close()

    # -- changing between the fast path and aiohttp --------------------------------------------------------------------

    def _register(self) -> None:
        if self._transport is not None:
            self._writer.open(self._transport)
            self._options.server.connection_made(cast("Any", self), self._transport)  # it has the three names needed

    def _unregister(self, exc: Exception | None = None) -> None:
        self._writer.leave()
        self._timer.stop()
        self._options.server.connection_lost(cast("Any", self), exc)

    def _hand_over(self, data: bytes | bytearray) -> None:
        """Let aiohttp's handler have the connection and what has come."""
        transport = self._transport
        if transport is None or self._writer.last:
            self.close()
            return
        data = bytes(data)
        self._unregister()
        self._buffer.clear()
        self._head = None
        self._other = self._options.server()
        self._other.connection_made(transport)
        if data:
            self._boundaries.feed(data)
            self._other.data_received(data)

    def _can_take_back(self, data: bytes) -> bool:
        """Return whether aiohttp has answered all that it has got, and `data` begins like a request to a route."""
        waiter = None if self._other is None else self._other._waiter  # noqa: SLF001 - the only sign of being idle
        idle = waiter is not None and not waiter.done() and self._boundaries.at_boundary
        return idle and not self._output_paused and may_begin(data, self._options.routes)

    def _take_back(self) -> None:
        """Dissolve aiohttp's handler, which is idle, without closing the connection."""
        other, self._other = self._other, None
        if other is not None:
            other.transport = None  # it would close it
            other.connection_lost(None)
        self._boundaries = RequestBoundaries()
        self._late = self._silent = False
        self._register()

    # -- deadlines -----------------------------------------------------------------------------------------------------

    def _expire_in(self, seconds: float) -> None:
        self._timer.set(self._loop.time() + seconds)

    def _on_deadline(self) -> None:
        if self._transport is None or self._other is not None:
            pass
        elif self._writer.full:
            self._transport.abort()  # the client does not read
        elif self._task_handler is not None:
            pass  # its end sets the next deadline
        elif self._silent or self._buffer:
            self._hand_over(self._buffer)
        else:
            self._transport.close()

    # -- reading -------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Start on a request when it is complete."""
        if self._other is not None:
            if not self._can_take_back(data):
                self._boundaries.feed(data)
                self._other.data_received(data)
                return
            self._take_back()
        if self._task_handler is not None or self._writer.full:
            self._buffer += data
            if len(self._buffer) > MAX_BEHIND_BYTES and not self._input_paused and self._transport is not None:
                self._input_paused = True
                self._transport.pause_reading()
        elif self._buffer:
            self._buffer += data
            self._read(self._buffer)
        else:
            self._read(data)

    def _read(self, data: bytes | bytearray) -> None:
        """Take a request from the beginning of `data`, which is the buffer or is kept there."""
        options = self._options
        try:
            head = self._head or read_head(data, options.routes, options.max_body)
        except NotPlain:
            self._hand_over(data)
            return
        if head is None or len(data) < head.end:
            self._head = head
            if data is not self._buffer:
                self._buffer += data
            if not self._late:
                self._late = True
                self._expire_in(ARRIVAL_S)
            return
        request = PlainRequest(head.headers, bytes(data[head.start : head.end]), self._writer)
        if not options.accepts(request):
            self._hand_over(data)
            return
        if len(data) > head.end or self._buffer:
            self._buffer = bytearray(data[head.end :])
        self._head, self._silent, self._late = None, False, False
        self._task_handler = self._loop.create_task(self._answer(options.routes[head.line], request), name="fast path")

    # -- responding ----------------------------------------------------------------------------------------------------

    async def _answer(self, handler: Handler, request: PlainRequest) -> None:
        try:
            try:
                self._write(await handler(request))
            except Exception as error:  # noqa: BLE001 - the edge of the service
                self._write(self._options.on_error(error))
        except BaseException:
            if self._transport is not None:
                self._transport.abort()
            raise
        self._task_handler = None
        self._go_on()

    def _write(self, response: PlainResponse | None) -> None:
        """Write a whole response, or cut an unfinished one in pieces: a second would be read as part of it."""
        if self._writer.begun and self._transport is not None:
            self._writer.leave()
            self._transport.abort()
        elif response is not None:
            self._writer.write(response)

    def _go_on(self) -> None:
        """Go on after a response, or when its last bytes are being read."""
        if self._transport is None or self._writer.full:
            return
        if self._writer.last:
            self._transport.close()
            return
        self._expire_in(self._options.keep_alive_s)
        if self._input_paused:
            self._input_paused = False
            self._transport.resume_reading()
        if self._buffer:
            self._read(self._buffer)

    def pause_writing(self) -> None:
        """Give the client a time to read. Until then no other request is begun: its response would have to be kept."""
        self._output_paused = True
        if self._other is not None:
            self._other.pause_writing()
            return
        self._writer.full = True
        self._expire_in(self._options.write_timeout_s)

    def resume_writing(self) -> None:
        """Go on."""
        self._output_paused = False
        if self._other is not None:
            self._other.resume_writing()
            return
        self._writer.resume()
        if self._task_handler is None:
            self._go_on()
